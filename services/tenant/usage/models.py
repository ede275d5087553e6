"""How much a tenant is used: pure functions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date

from shared.contracts.envelope import Actor, Resource, changes_of
from shared.contracts.tenant import TenantUsageChanged, UsageChanges, UsageState


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's use. ``version`` counts the changes of what is told to others; 0: nothing was told yet.

    Attributes:
        last_sign_in_on: ISO 8601, the day in UTC.
    """

    tenant_id: str
    slug: str
    partner: str | None
    seats_used: int = 0
    last_sign_in_on: str | None = None
    version: int = 0

    def seen(self, seats_used: int, on: date | None) -> Usage:
        """Take over a count of seats and a day on which somebody was there; the same again changes nothing."""
        latest = max(filter(None, (self.last_sign_in_on, on.isoformat() if on else None)), default=None)
        if self.version and (seats_used, latest) == (self.seats_used, self.last_sign_in_on):
            return self
        return replace(self, seats_used=seats_used, last_sign_in_on=latest, version=self.version + 1)


def state_of(usage: Usage) -> UsageState:
    """Return the state that events and snapshots carry."""
    return UsageState.model_validate({f.name: getattr(usage, f.name) for f in fields(usage)})


def changed(actor: Actor, before: Usage, after: Usage) -> TenantUsageChanged:
    """Return the event that tells of the change; the first one tells all there is."""
    known = before if before.version else None
    return TenantUsageChanged(
        actor=actor,
        resource=Resource(type="tenant", id=after.slug, tenant_slug=after.slug, partner_slug=after.partner),
        version=after.version,
        state=state_of(after),
        changes=changes_of(UsageChanges, known, after),
    )
