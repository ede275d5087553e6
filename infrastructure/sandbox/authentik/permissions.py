"""Who may do what with the administration API: permissions by role, as the original's RBAC has them.

A superuser may everything. Others have the permissions of their roles, each for all objects of a model or for one. A
method needs `view`, `add`, `change` or `delete` of its path's model; an action has a permission of its own.
"""

import sqlite3

MODELS = {
    "/core/users/": ("authentik_core", "user"),
    "/core/groups/": ("authentik_core", "group"),
    "/core/tokens/": ("authentik_core", "token"),
    "/core/applications/": ("authentik_core", "application"),
    "/core/brands/": ("authentik_brands", "brand"),
    "/crypto/certificatekeypairs/": ("authentik_crypto", "certificatekeypair"),
    "/events/events/": ("authentik_events", "event"),
    "/flows/instances/": ("authentik_flows", "flow"),
    "/policies/bindings/": ("authentik_policies", "policybinding"),
    "/propertymappings/provider/scope/": ("authentik_providers_oauth2", "scopemapping"),
    "/providers/oauth2/": ("authentik_providers_oauth2", "oauth2provider"),
    "/rbac/initial_permissions/": ("authentik_rbac", "initialpermissions"),
    "/rbac/roles/": ("authentik_rbac", "role"),
}
EXTRA = (
    ("authentik_core", "user", "reset_user_password", "Reset Password"),
    ("authentik_core", "user", "impersonate", "Can impersonate other users"),
    ("authentik_core", "group", "add_user_to_group", "Add user to group"),
    ("authentik_core", "group", "remove_user_from_group", "Remove user from group"),
    ("authentik_core", "group", "enable_group_superuser", "Enable superuser status"),
    ("authentik_core", "group", "disable_group_superuser", "Disable superuser status"),
    ("authentik_core", "token", "view_token_key", "View token's key"),
    ("authentik_core", "token", "set_token_key", "Set a token's key"),
    ("authentik_rbac", "role", "assign_role_permissions", "Can assign permissions to roles"),
    ("authentik_rbac", "role", "unassign_role_permissions", "Can unassign permissions from roles"),
)
VERBS = {"get": "view", "post": "add", "put": "change", "patch": "change", "delete": "delete"}
SHIPPED = (
    *(
        (app, model, f"{verb}_{model}", f"Can {verb} {model}")
        for app, model in MODELS.values()
        for verb in ("add", "change", "delete", "view")
    ),
    *EXTRA,
)
ACTIONS = {
    "/core/users/{pk}/set_password/": ("authentik_core.reset_user_password",),
    "/core/users/{pk}/recovery/": ("authentik_core.reset_user_password",),
    "/core/users/service_account/": ("authentik_core.add_user", "authentik_core.add_token"),
    "/core/groups/{pk}/add_user/": ("authentik_core.add_user_to_group",),
    "/core/groups/{pk}/remove_user/": ("authentik_core.remove_user_from_group",),
    "/core/tokens/{identifier}/view_key/": ("authentik_core.view_token_key",),
    "/core/tokens/{identifier}/set_key/": ("authentik_core.set_token_key",),
    "/rbac/roles/{pk}/add_user/": ("authentik_rbac.change_role",),
    "/rbac/roles/{pk}/remove_user/": ("authentik_rbac.change_role",),
    "/rbac/permissions/assigned_by_roles/{pk}/assign/": ("authentik_rbac.assign_role_permissions",),
    "/rbac/permissions/assigned_by_roles/{pk}/unassign/": ("authentik_rbac.unassign_role_permissions",),
    # Whoever has a token may read these; anybody may make a token for themselves.
    "/core/users/me/": (),
    "/rbac/permissions/": (),
}
OWN_TOKENS = "/core/tokens/"


def required(path: str, method: str) -> tuple[str, ...]:
    """The permissions, all of them, that a method (in lower case) of a path below `/api/v3` needs."""
    if path in ACTIONS or (path, method) == (OWN_TOKENS, "post"):
        return ACTIONS.get(path, ())
    app, model = next(entry for prefix, entry in MODELS.items() if path.startswith(prefix))
    return (f"{app}.{VERBS.get(method, 'view')}_{model}",)


class Permissions:
    """Looks up and gives permissions."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def holds(self, user_pk: int, permission: str, object_pk: str = "") -> bool:
        """True if a role of the user has it, for all objects or for this one."""
        app, _, codename = permission.partition(".")
        found = self._store.execute(
            "SELECT 1 FROM user_roles JOIN role_permissions USING (role_pk) JOIN permissions ON permissions.id ="
            " permission WHERE user_pk = ? AND app_label = ? AND codename = ? AND object_pk IN ('', ?)",
            (user_pk, app, codename, object_pk),
        )
        return found.fetchone() is not None

    def give(self, role_pk: str, permission: int, object_pk: str = "") -> int:
        """Gives a permission and returns the number of that gift; giving it twice is giving it once."""
        values = (role_pk, permission, object_pk)
        self._store.execute(
            "INSERT OR IGNORE INTO role_permissions (role_pk, permission, object_pk) VALUES (?, ?, ?)", values
        )
        (number,) = self._store.execute(
            "SELECT id FROM role_permissions WHERE role_pk = ? AND permission = ? AND object_pk = ?", values
        ).fetchone()
        return int(number)

    def number_of(self, permission: str) -> int | None:
        """The id of `app_label.codename`."""
        app, _, codename = permission.partition(".")
        row = self._store.execute(
            "SELECT id FROM permissions WHERE app_label = ? AND codename = ?", (app, codename)
        ).fetchone()
        return row["id"] if row else None

    def give_initial(self, creator_pk: int, model: str, object_pk: str) -> None:
        """Gives the roles of whoever made an object what their initial permissions say of its model."""
        rows = self._store.execute(
            "SELECT role_pk, permissions.id FROM initial_permissions JOIN user_roles USING (role_pk),"
            " json_each(initial_permissions.permissions) JOIN permissions ON permissions.id = json_each.value"
            " WHERE user_pk = ? AND model = ?",
            (creator_pk, model),
        ).fetchall()
        for row in rows:
            self.give(row["role_pk"], row["id"], object_pk)
