"""What the services may do at Authentik: a service account for each that calls it, with a role and an API token.

Only a superuser makes app passwords for others there, whatever permissions a role has. The tenant service's probes get
theirs as they are made (`core/users/service_account/`); initial permissions let it see the keys of those, and of no
other token. What a role cannot express is whom somebody may change: who may change users may also give an
administrator of Authentik a new password, so the tenant service's token is as dear as theirs.
Source: authentik's `rbac` and `core/api/tokens.py`.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from infrastructure.bootstrap.authentik.api import Authentik
from infrastructure.bootstrap.reports import ByHand, Outcome, Report

_PATH = "dezky/services"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account, named as its role and its token; permissions are `app_label.codename`.

    Attributes:
        permissions: for all objects. of_own_tokens: for the tokens that it has had made.
        variable: where its service reads the token.
    """

    name: str
    variable: str
    permissions: frozenset[str]
    of_own_tokens: tuple[str, ...] = ()


TENANT = ServiceAccount(
    "dezky-tenant",
    "TENANT_AUTHENTIK_TOKEN",
    frozenset(
        f"authentik_core.{codename}"
        for codename in (
            *("view_user", "add_user", "change_user", "delete_user", "reset_user_password"),
            *("view_group", "add_group", "change_group", "delete_group"),
            *("add_user_to_group", "remove_user_from_group", "add_token"),
        )
    ),
    of_own_tokens=("view_token_key",),
)
AUDIT = ServiceAccount("dezky-audit", "AUDIT_AUTHENTIK_TOKEN", frozenset({"authentik_events.view_event"}))


async def settle_group(authentik: Authentik, name: str) -> tuple[str, Report]:
    """Make the group be there, and make nobody a superuser of Authentik; returns its id, too."""
    found = await authentik.one("core/groups/", name=name)
    if found is None:
        made = await authentik.call("POST", "core/groups/", {"name": name, "is_superuser": False})
        return str(made["pk"]), Report(f"group {name}", Outcome.MADE)
    if found["is_superuser"]:
        await authentik.call("PATCH", f"core/groups/{found['pk']}/", {"is_superuser": False})
        return str(found["pk"]), Report(f"group {name}", Outcome.MENDED)
    return str(found["pk"]), Report(f"group {name}", Outcome.OK)


async def settle_account(authentik: Authentik, wanted: ServiceAccount, token: str) -> AsyncIterator[Report]:
    """Make role, account and token of one service be as wanted, and report each."""
    if not token:
        yield Report(f"service account {wanted.name} ({wanted.variable} is not set)", Outcome.SKIPPED)
        return
    role, outcome = await _settle_role(authentik, wanted.name)
    yield Report(f"role {wanted.name}", outcome)
    yield Report(f"permissions of {wanted.name}", await _settle_permissions(authentik, role, wanted.permissions))
    if wanted.of_own_tokens:
        outcome = await _settle_initial(authentik, wanted.name, role, wanted.of_own_tokens)
        yield Report(f"initial permissions of {wanted.name}", outcome)
    user, outcome = await _settle_user(authentik, wanted.name, role)
    yield Report(f"service account {wanted.name}", outcome)
    identifier = f"{wanted.name}-api"
    yield Report(f"token {identifier}", await _settle_token(authentik, identifier, user))
    yield Report(f"key of {identifier}", await _settle_key(authentik, identifier, wanted, token))


async def _settle_role(authentik: Authentik, name: str) -> tuple[str, Outcome]:
    found = await authentik.one("rbac/roles/", name=name)
    if found is not None:
        return str(found["pk"]), Outcome.OK
    made = await authentik.call("POST", "rbac/roles/", {"name": name})
    return str(made["pk"]), Outcome.MADE


async def _settle_permissions(authentik: Authentik, role: str, wanted: Iterable[str]) -> Outcome:
    rows = await authentik.rows("rbac/permissions/", role=role)
    given = {f"{row['app_label']}.{row['codename']}" for row in rows}
    missing, excess = sorted(set(wanted) - given), sorted(given - set(wanted))
    path = f"rbac/permissions/assigned_by_roles/{role}"
    if missing:
        await authentik.call("POST", f"{path}/assign/", {"permissions": missing})
    if excess:
        await authentik.call("PATCH", f"{path}/unassign/", {"permissions": excess})
    if not missing and not excess:
        return Outcome.OK
    return Outcome.MENDED if given else Outcome.MADE


async def _settle_initial(authentik: Authentik, name: str, role: str, codenames: Iterable[str]) -> Outcome:
    numbers = []
    for codename in codenames:
        rows = await authentik.rows("rbac/permissions/", codename=codename, content_type__model="token")
        if not rows:
            raise ByHand(f"Authentik knows no permission {codename}", "Use a version that has it (2026.8)")
        numbers.append(int(rows[0]["id"]))
    body: dict[str, Any] = {"name": name, "role": role, "permissions": numbers}
    found = await authentik.one("rbac/initial_permissions/", name=name)
    if found is None:
        await authentik.call("POST", "rbac/initial_permissions/", body)
        return Outcome.MADE
    if str(found["role"]) == role and sorted(found["permissions"]) == sorted(numbers):
        return Outcome.OK
    await authentik.call("PATCH", f"rbac/initial_permissions/{found['pk']}/", body)
    return Outcome.MENDED


async def _settle_user(authentik: Authentik, name: str, role: str) -> tuple[int, Outcome]:
    body = {"is_active": True, "groups": [], "roles": [role]}
    found = await authentik.one("core/users/", username=name)
    if found is None:
        whole = {"username": name, "name": name, "type": "service_account", "path": _PATH, **body}
        made = await authentik.call("POST", "core/users/", whole)
        return int(made["pk"]), Outcome.MADE
    if found["type"] != "service_account":
        raise ByHand(f"The user {name} of Authentik is no service account", "Rename that user there")
    pk = int(found["pk"])
    # Creating a token for itself gives an account a role of its own there; ours must be among them.
    shown = {member: found[member] for member in body}
    if role in shown["roles"]:
        shown["roles"] = [role]
    if shown == body:
        return pk, Outcome.OK
    await authentik.call("PATCH", f"core/users/{pk}/", body)
    return pk, Outcome.MENDED


async def _settle_token(authentik: Authentik, identifier: str, user: int) -> Outcome:
    path = f"core/tokens/{identifier}/"
    found = await authentik.find(path)
    if found is not None and found["user"] == user and found["intent"] == "api" and not found["expiring"]:
        return Outcome.OK
    if found is not None:
        # Whose a token is cannot be changed.
        await authentik.call("DELETE", path)
    body = {"identifier": identifier, "intent": "api", "user": user, "expiring": False}
    await authentik.call("POST", "core/tokens/", body)
    return Outcome.MADE if found is None else Outcome.MENDED


async def _settle_key(authentik: Authentik, identifier: str, wanted: ServiceAccount, token: str) -> Outcome:
    """Make the token be the service's. To try it leaves no trace; to ask for its key is an event of its own there."""
    holder = await authentik.holder_of(token)
    if holder == wanted.name:
        return Outcome.OK
    if holder is not None:
        raise ByHand(f"{wanted.variable} opens Authentik as {holder}", "Give each service a token of its own")
    await authentik.call("POST", f"core/tokens/{identifier}/set_key/", {"key": token})
    return Outcome.MADE
