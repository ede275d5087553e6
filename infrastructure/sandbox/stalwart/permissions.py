"""What an account may do: its role, its own permissions, and its tenant's."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

USER = frozenset(
    {
        *("authenticate", "emailReceive", "emailSend"),
        *("sysApiKeyGet", "sysApiKeyCreate", "sysApiKeyUpdate", "sysApiKeyDestroy", "sysApiKeyQuery"),
    }
)
# An administrator of a tenant manages what is in it, not the tenant, nor the server.
OBJECTS_OF_A_TENANT = ("Account", "Domain", "ApiKey")
CHANGES = ("Get", "Create", "Update", "Destroy", "Query")
TENANT_ADMIN = USER | {f"sys{kind}{change}" for kind in OBJECTS_OF_A_TENANT for change in CHANGES}
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """`granted` None means everything; what is in `denied` is denied whatever grants it."""

    granted: frozenset[str] | None
    denied: frozenset[str] = frozenset()

    def allows(self, permission: str) -> bool:
        return permission not in self.denied and (self.granted is None or permission in self.granted)

    def narrowed(self, permissions: Body) -> "Allowance":
        """With an object's own permissions applied: `Inherit`, `Merge`, `Replace` or (of API keys) `Disable`."""
        enabled = permissions.get("enabledPermissions") or {}
        denied = self.denied | {*(permissions.get("disabledPermissions") or {})}
        match permissions["@type"]:
            case "Merge":
                return Allowance(None if self.granted is None else self.granted | {*enabled}, denied)
            case "Replace":
                return Allowance(frozenset(enabled), denied)
            case _:
                return Allowance(self.granted, denied)

    def within(self, limit: AbstractSet[str]) -> "Allowance":
        """Only what the limit names, too."""
        return Allowance(frozenset(limit) if self.granted is None else self.granted & limit, self.denied)


def allowance(account: Body, tenant: Body | None) -> Allowance:
    """What remains for an account, given the bodies of it and of its tenant."""
    if account["roles"]["@type"] == "Admin":
        base = Allowance(None if tenant is None else TENANT_ADMIN)
    else:
        base = Allowance(USER)
    own = base.narrowed(account["permissions"])
    if tenant is None:
        return own
    theirs = tenant["permissions"]
    own = Allowance(own.granted, own.denied | {*(theirs.get("disabledPermissions") or {})})
    return own.within({*theirs["enabledPermissions"]}) if theirs["@type"] == "Replace" else own


def of_api_key(holder: Allowance, key: Body) -> Allowance:
    """An API key never has more than its account."""
    permissions = key["permissions"]
    if permissions["@type"] == "Replace":
        return holder.within({*permissions["enabledPermissions"]})
    return holder.narrowed(permissions)
