"""A customer as other services last said it is: pure functions of what was heard.

Each source counts versions of its own, so each has a part of its own, and in each the newest version wins. Months are
text (``2026-03``, UTC), because in that form they sort as they follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared.contracts.billing import SubscriptionState
from shared.contracts.envelope import Change
from shared.contracts.tenant import ProvisioningState, TenantState, TenantStatus, UsageState

CUTS_KEPT = timedelta(days=31)
MAX_CUTS = 50
STILL_HERE = "9999-12"
"""The month in which somebody left who has not: every month is before it."""

GONE: frozenset[TenantStatus] = frozenset({"deleting", "deleted"})


@dataclass(frozen=True, slots=True)
class Stay:
    """A partner's time with a customer, from the month of its beginning to that of its end."""

    partner: str
    cohort: str
    left: str = STILL_HERE


@dataclass(frozen=True, slots=True)
class TenantPart:
    """What the tenant service says of a tenant. ``stays`` holds one per partner that ever owned it."""

    slug: str
    name: str
    partner: str | None
    status: TenantStatus
    plan: str
    seats: int
    created_at: datetime
    version: int
    stays: tuple[Stay, ...] = ()


@dataclass(frozen=True, slots=True)
class UsagePart:
    """How much a tenant is used; ``last_sign_in_on`` is an ISO 8601 date in UTC."""

    seats_used: int
    last_sign_in_on: str | None
    version: int


@dataclass(frozen=True, slots=True)
class ProvisioningPart:
    """Since when some integration does not agree with a tenant; None while all do."""

    unready_since: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class SubscriptionPart:
    """What billing says; money in minor units of ``currency``. ``live`` is whether it counts as revenue."""

    partner: str | None
    plan: str
    cycle: str
    currency: str
    seats: int
    arr: int
    mrr: int
    status: str
    live: bool
    payment_failed_at: datetime | None
    started: str
    version: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A change of a tenant, its ``version``, that took seats away; ``seats`` is how many there were before."""

    version: int
    at: datetime
    seats: int


@dataclass(frozen=True, slots=True)
class Customer:
    """All that is known of a tenant. ``heard_at`` is the time of the newest event that is in it."""

    id: str
    heard_at: datetime
    tenant: TenantPart | None = None
    usage: UsagePart | None = None
    provisioning: ProvisioningPart | None = None
    subscription: SubscriptionPart | None = None
    cuts: tuple[Cut, ...] = ()

    def lose_seats(self, cut: Cut) -> Customer:
        """Remember a cut, whatever else has been heard already; those that no rule asks for any more are dropped."""
        if any(known.version == cut.version for known in self.cuts):
            return self
        newest = max([cut.at, *(known.at for known in self.cuts)])
        kept = [known for known in (*self.cuts, cut) if newest - known.at <= CUTS_KEPT]
        kept.sort(key=lambda known: known.version)
        return replace(self, cuts=tuple(kept[-MAX_CUTS:]))


def month_of(moment: datetime) -> str:
    """Return the month of a moment in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def tenant_part(state: TenantState) -> TenantPart:
    """Return what this service keeps of a tenant's state: nobody's name or address."""
    return TenantPart(
        slug=state.slug,
        name=state.name,
        partner=state.partner,
        status=state.status,
        plan=state.plan,
        seats=state.seats,
        created_at=state.created_at,
        version=state.version,
        stays=_stays(state),
    )


def _stays(state: TenantState) -> tuple[Stay, ...]:
    """Return one stay per partner, from the first month to the last: who came back is counted as never gone."""
    since: dict[str, datetime] = {}
    until: dict[str, datetime | None] = {}
    for past in state.ownership:
        since.setdefault(past.partner, past.since)
        until[past.partner] = past.until
    if state.partner is not None:
        since.setdefault(state.partner, state.created_at)
        until[state.partner] = None
        if state.status in GONE:
            until[state.partner] = state.deletion.requested_at if state.deletion else state.updated_at
    return tuple(
        Stay(partner, month_of(began), STILL_HERE if (end := until[partner]) is None else month_of(end))
        for partner, began in since.items()
    )


def cut_in(state: TenantState, seats: Change[int] | None) -> Cut | None:
    """Return the cut that an event tells of, if it does; ``seats`` is its change of seats."""
    if seats is None or seats.before is None or seats.after is None or seats.after >= seats.before:
        return None
    return Cut(state.version, state.updated_at, seats.before)


def usage_part(state: UsageState) -> UsagePart:
    """Return what this service keeps of a tenant's usage."""
    return UsagePart(state.seats_used, state.last_sign_in_on, state.version)


def provisioning_part(state: ProvisioningState) -> ProvisioningPart:
    """Return what this service keeps of a tenant's provisioning."""
    since = [condition.at for condition in state.conditions.values() if condition.status != "ready"]
    return ProvisioningPart(min(since, default=None), state.version)


def subscription_part(state: SubscriptionState) -> SubscriptionPart:
    """Return what this service keeps of a subscription."""
    return SubscriptionPart(
        partner=state.partner,
        plan=state.plan,
        cycle=state.cycle,
        currency=state.currency,
        seats=state.seats,
        arr=state.arr,
        mrr=state.mrr,
        status=state.status,
        live=state.status != "canceled",
        payment_failed_at=state.payment_failed_at,
        started=month_of(state.started_at),
        version=state.version,
    )
