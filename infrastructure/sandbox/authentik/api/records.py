"""Users and groups as the API shows them. A group's roles are always empty: here only users have roles."""

import json
import sqlite3
from typing import Any

from infrastructure.sandbox.authentik.directory import SUPERUSERS, Directory

AVATAR = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"


class Records:
    """Rows of the store turned into JSON objects."""

    def __init__(self, store: sqlite3.Connection, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def user(self, row: sqlite3.Row, *, include_groups: bool = True) -> dict[str, object]:
        """A whole user; without `include_groups` the member `groups_obj` is null."""
        groups = self._all(
            "SELECT groups.* FROM groups JOIN memberships ON group_pk = pk WHERE user_pk = ? ORDER BY name", row["pk"]
        )
        roles = self._all("SELECT roles.* FROM roles JOIN user_roles ON role_pk = pk WHERE user_pk = ?", row["pk"])
        found = self._store.execute(f"SELECT ? IN ({SUPERUSERS})", (row["pk"],)).fetchone()
        return {
            **self._person(row),
            "date_joined": _utc(row["date_joined"]),
            "is_superuser": bool(found[0]),
            "groups": [group["pk"] for group in groups],
            "groups_obj": [_group(group) for group in groups] if include_groups else None,
            "roles": [role["pk"] for role in roles],
            "roles_obj": [{"pk": role["pk"], "name": role["name"]} for role in roles],
            "avatar": AVATAR,
            "path": row["path"],
            "type": row["type"],
            "uuid": row["uuid"],
            "password_change_date": _utc(row["password_change_date"]),
            "last_updated": _utc(row["last_updated"]),
        }

    def myself(self, row: sqlite3.Row) -> dict[str, object]:
        """What somebody may learn of themselves."""
        whole = self.user(row)
        kept = ("pk", "username", "name", "is_active", "is_superuser", "email", "avatar", "uid", "type")
        groups = self._all("SELECT groups.* FROM groups JOIN memberships ON group_pk = pk WHERE user_pk = ?", row["pk"])
        return {
            **{name: whole[name] for name in kept},
            "is_current": True,
            "groups": [{"name": group["name"], "pk": group["pk"]} for group in groups],
            "roles": whole["roles_obj"],
            "settings": {},
            "system_permissions": [],
        }

    def group(self, row: sqlite3.Row, *, include_users: bool = True) -> dict[str, object]:
        """A whole group; without `include_users` the member `users_obj` is null and costs nothing."""
        pk = row["pk"]
        members = self._all("SELECT user_pk FROM memberships WHERE group_pk = ? ORDER BY user_pk", pk)
        people = (
            self._all("SELECT users.* FROM users JOIN memberships ON user_pk = pk WHERE group_pk = ? ORDER BY pk", pk)
            if include_users
            else []
        )
        parents = self._all("SELECT groups.* FROM groups JOIN group_parents ON parent_pk = pk WHERE group_pk = ?", pk)
        children = self._all("SELECT groups.* FROM groups JOIN group_parents ON group_pk = pk WHERE parent_pk = ?", pk)
        return {
            **_group(row),
            "parents": [parent["pk"] for parent in parents],
            "parents_obj": [_related(parent) for parent in parents],
            "users": [member["user_pk"] for member in members],
            "users_obj": [self._person(person) for person in people] if include_users else None,
            "roles": [],
            "roles_obj": [],
            "inherited_roles_obj": [],
            "children": [child["pk"] for child in children],
            "children_obj": [_related(child) for child in children],
        }

    def brief_group(self, row: sqlite3.Row) -> dict[str, object]:
        """A group without its members and relations."""
        return _group(row)

    def brief_user(self, row: sqlite3.Row) -> dict[str, object]:
        """A user without groups and roles."""
        return self._person(row)

    def _person(self, row: sqlite3.Row) -> dict[str, object]:
        return {
            "pk": row["pk"],
            "username": row["username"],
            "name": row["name"],
            "is_active": bool(row["is_active"]),
            "last_login": _utc(row["last_login"]) if row["last_login"] else None,
            "email": row["email"],
            "attributes": json.loads(row["attributes"]),
            "uid": self._directory.subject(row),
        }

    def _all(self, statement: str, value: object) -> list[Any]:
        return self._store.execute(statement, (value,)).fetchall()


def _group(row: sqlite3.Row) -> dict[str, object]:
    return {
        "pk": row["pk"],
        "num_pk": row["num_pk"],
        "name": row["name"],
        "is_superuser": bool(row["is_superuser"]),
        "attributes": json.loads(row["attributes"]),
    }


def _related(row: sqlite3.Row) -> dict[str, object]:
    shown = _group(row)
    del shown["num_pk"]
    return {**shown, "group_uuid": row["pk"]}


def _utc(stored: str) -> str:
    # Files of the first version of the stand-in hold the offset in digits.
    return stored.replace("+00:00", "Z")
