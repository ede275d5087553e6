"""A human and their roles: pure functions of the model and the time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from shared.contracts.user import PartnerRoleState, PersonStatus, TenantRoleName, UserChanges, UserState

OPERATOR_GROUP = "dezky-platform-admins"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a person is for one identity provider. The pair is unique; an e-mail address never links anybody."""

    identity_provider: str
    subject: str


@dataclass(frozen=True, slots=True)
class Human:
    """One record per human. ``version`` counts the committed changes of what others rely on."""

    id: str
    email: str
    name: str
    identities: tuple[Identity, ...]
    created_at: datetime
    status: PersonStatus = "active"
    platform_admin: bool = False
    partner: PartnerRoleState | None = None
    tenants: dict[str, TenantRoleName] = field(default_factory=dict)
    last_seen: datetime | None = None
    version: int = 1

    @property
    def active(self) -> bool:
        """Whether this person may act at all."""
        return self.status != "inactive"

    def seen_as(self, email: str, name: str, *, platform_admin: bool) -> Human:
        """Take over what the identity provider says now; the same facts again change nothing."""
        first_sign_in = self.status == "invited"
        known = (self.email, self.name, self.platform_admin)
        if known == (email, name, platform_admin) and not first_sign_in:
            return self
        status: PersonStatus = "active" if first_sign_in else self.status
        return self.changed(email=email, name=name, platform_admin=platform_admin, status=status)

    def changed(self, **changes: Any) -> Human:
        """Return the next version with ``changes``."""
        return replace(self, **changes, version=self.version + 1)


def state_of(human: Human) -> UserState:
    """Return the public state that events carry."""
    names = UserState.model_fields
    return UserState.model_validate({f.name: getattr(human, f.name) for f in fields(human) if f.name in names})


def changes_between(before: Human | None, after: Human) -> UserChanges:
    """Return what differs; against None, everything that ``after`` has."""
    found: dict[str, Any] = {}
    for name in UserChanges.model_fields:
        old = getattr(before, name) if before is not None else None
        new = getattr(after, name)
        if old != new:
            found[name] = {"before": old, "after": new}
    return UserChanges.model_validate(found)
