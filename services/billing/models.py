"""Prices, subscriptions and what they are worth: pure functions, whole numbers only.

Recurring revenue is kept per year (ARR) in minor units, because that is an exact integer for either cycle; a month's
(MRR) is a twelfth of it and is rounded only where it is shown (``services.billing.mrr``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime

from shared.contracts.billing import (
    Cycle,
    MovementKind,
    PriceChanges,
    PriceState,
    SubscriptionChanges,
    SubscriptionState,
    SubscriptionStatus,
)
from shared.contracts.envelope import changes_of
from shared.contracts.tenant import TenantState, TenantStatus
from shared.errors import Conflict
from shared.money import month_of_year

CYCLES_PER_YEAR: dict[Cycle, int] = {"month": 12, "year": 1}
NO_PRICE = "no_price"
LIVE: frozenset[SubscriptionStatus] = frozenset({"trialing", "active", "past_due", "paused", "unpaid"})


class PriceExists(Conflict):
    code, title = "price_exists", "This plan and cycle have a price"


class PriceIsArchived(Conflict):
    code, title = "price_archived", "The price is archived"


@dataclass(frozen=True, slots=True)
class Price:
    """A row of the catalog: what a seat of a plan costs per cycle, in minor units by currency."""

    id: str
    plan: str
    cycle: Cycle
    amounts: dict[str, int]
    created_at: datetime
    updated_at: datetime
    archived: bool = False
    version: int = 1

    def reprice(self, amounts: dict[str, int], at: datetime) -> Price:
        """Set amounts of some currencies; the same amounts change nothing.

        Raises:
            PriceIsArchived: an archived price no longer changes.
        """
        if self.archived:
            raise PriceIsArchived("create a new price for this plan and cycle")
        merged = {**self.amounts, **amounts}
        if merged == self.amounts:
            return self
        return replace(self, amounts=merged, updated_at=at, version=self.version + 1)

    def archive(self, at: datetime) -> Price:
        """Take no new subscriptions; archiving twice changes nothing."""
        if self.archived:
            return self
        return replace(self, archived=True, updated_at=at, version=self.version + 1)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a tenant is subscribed to. ``tenant_version`` is the newest version of the tenant that it reflects."""

    id: str
    tenant_id: str
    tenant_slug: str
    partner: str | None
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    per_seat: int | None
    status: SubscriptionStatus
    started_at: datetime
    updated_at: datetime
    tenant_version: int
    version: int = 1
    payment_failed_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it counts as revenue; a suspended tenant's does."""
        return self.status in LIVE

    @property
    def arr(self) -> int:
        """Annual recurring revenue in minor units; 0 once it has ended, or without a price."""
        if not self.live or self.per_seat is None:
            return 0
        return self.per_seat * self.seats * CYCLES_PER_YEAR[self.cycle]

    @property
    def mrr(self) -> int:
        """Monthly recurring revenue of this subscription alone, in minor units."""
        return month_of_year(self.arr)

    @property
    def finding(self) -> str | None:
        """What somebody should look at."""
        return NO_PRICE if self.live and self.per_seat is None else None

    def keeps_snapshot(self, tenant: TenantState) -> bool:
        """Tell whether the per-seat amount holds: same plan, cycle and currency, and it never ended."""
        same_row = (self.plan, self.cycle, self.currency) == (tenant.plan, tenant.cycle, tenant.currency)
        return same_row and self.live and self.per_seat is not None

    def follow(self, tenant: TenantState, per_seat: int | None, at: datetime) -> Subscription:
        """Take over a tenant's newer state.

        ``per_seat`` is the catalog's amount for the tenant's plan, cycle and currency; it is used only where
        ``keeps_snapshot`` says no.
        """
        status = status_for(tenant.status)
        keeps = self.keeps_snapshot(tenant)
        after = replace(
            self,
            tenant_slug=tenant.slug,
            partner=tenant.partner,
            plan=tenant.plan,
            cycle=tenant.cycle,
            currency=tenant.currency,
            seats=tenant.seats,
            per_seat=self.per_seat if keeps else per_seat,
            status=status,
            tenant_version=tenant.version,
        )
        if replace(after, tenant_version=self.tenant_version) == self:
            return after
        return replace(after, updated_at=at, version=self.version + 1)

    def refresh(self, per_seat: int, at: datetime) -> Subscription:
        """Take over a changed price; the same amount changes nothing."""
        if self.per_seat == per_seat:
            return self
        return replace(self, per_seat=per_seat, updated_at=at, version=self.version + 1)


def start(subscription_id: str, tenant: TenantState, per_seat: int | None, at: datetime) -> Subscription:
    """Return a tenant's first subscription."""
    return Subscription(
        id=subscription_id,
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        partner=tenant.partner,
        plan=tenant.plan,
        cycle=tenant.cycle,
        currency=tenant.currency,
        seats=tenant.seats,
        per_seat=per_seat,
        status=status_for(tenant.status),
        started_at=at,
        updated_at=at,
        tenant_version=tenant.version,
    )


def status_for(tenant: TenantStatus) -> SubscriptionStatus:
    """Return how a tenant's status shows in its subscription."""
    if tenant == "suspended":
        return "paused"
    return "canceled" if tenant in {"deleting", "deleted"} else "active"


def movement(before: Subscription | None, after: Subscription) -> MovementKind | None:
    """Return how revenue moved, or None if it did not."""
    old = before.arr if before is not None else 0
    if after.arr == old:
        return None
    if before is None:
        return "new"
    if not after.live:
        return "churn"
    if not before.live:
        return "reactivation"
    return "expansion" if after.arr > old else "contraction"


def price_state(price: Price) -> PriceState:
    """Return the public state that events carry."""
    return PriceState.model_validate({f.name: getattr(price, f.name) for f in fields(price)})


def price_changes(before: Price | None, after: Price) -> PriceChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(PriceChanges, before, after)


def subscription_state(subscription: Subscription) -> SubscriptionState:
    """Return the public state that events carry."""
    names = SubscriptionState.model_fields
    return SubscriptionState.model_validate({name: getattr(subscription, name) for name in names})


def subscription_changes(before: Subscription | None, after: Subscription) -> SubscriptionChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(SubscriptionChanges, before, after)
