"""Events of the billing service: the catalog and what each tenant is subscribed to. Money is minor units + currency."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, Contract, Event, Moment

Cycle = Literal["month", "year"]
SubscriptionStatus = Literal["trialing", "active", "past_due", "paused", "unpaid", "canceled"]
MovementKind = Literal["new", "expansion", "contraction", "churn", "reactivation"]


class PriceState(Contract):
    """The full public state of a row of the catalog after a change.

    Attributes:
        amounts: ISO 4217 currency → minor units per seat and cycle.
    """

    id: str
    plan: str
    cycle: Cycle
    amounts: dict[str, int]
    archived: bool
    created_at: Moment
    updated_at: Moment
    version: int


class PriceChanges(Contract):
    """Fields of a price before and after; a field that did not change is absent."""

    amounts: Change[dict[str, int]] | None = None
    archived: Change[bool] | None = None


class PriceEvent(Event):
    """What all events of the catalog carry."""

    state: PriceState
    changes: PriceChanges


class PriceCreated(PriceEvent):
    type: ClassVar[str] = "price.created.v1"
    summary: ClassVar[str] = "A plan and cycle got a price."


class PriceChanged(PriceEvent):
    type: ClassVar[str] = "price.changed.v1"
    summary: ClassVar[str] = "Amounts of a price changed; live subscriptions follow at once."


class PriceArchived(PriceEvent):
    type: ClassVar[str] = "price.archived.v1"
    summary: ClassVar[str] = "A price takes no new subscriptions."


class SubscriptionState(Contract):
    """The full public state of a subscription after a change.

    Attributes:
        per_seat: minor units per seat and cycle, the snapshot that holds until a price change; None without a price.
        arr: annual recurring revenue in minor units: an exact integer for every cycle. MRR is a twelfth of it.
        mrr: monthly recurring revenue in minor units as billing rounds it for this subscription alone.
        payment_failed_at: since when a payment is owed; None while nothing is.
    """

    id: str
    tenant_id: str
    tenant_slug: str
    partner: str | None
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    per_seat: int | None
    arr: int
    mrr: int = 0
    status: SubscriptionStatus
    finding: str | None
    payment_failed_at: Moment | None = None
    started_at: Moment
    updated_at: Moment
    version: int


class SubscriptionChanges(Contract):
    """Fields of a subscription before and after; a field that did not change is absent."""

    partner: Change[str] | None = None
    plan: Change[str] | None = None
    cycle: Change[Cycle] | None = None
    seats: Change[int] | None = None
    per_seat: Change[int] | None = None
    arr: Change[int] | None = None
    status: Change[SubscriptionStatus] | None = None
    finding: Change[str] | None = None


class SubscriptionEvent(Event):
    """What all events of a subscription carry.

    Attributes:
        movement: how MRR moved, None if it did not.
        caused_by: id of the event that caused this one.
    """

    state: SubscriptionState
    changes: SubscriptionChanges
    movement: MovementKind | None = None
    caused_by: str | None = None


class SubscriptionStarted(SubscriptionEvent):
    type: ClassVar[str] = "subscription.started.v1"
    summary: ClassVar[str] = "A tenant's subscription began, or began again."


class SubscriptionUpdated(SubscriptionEvent):
    type: ClassVar[str] = "subscription.updated.v1"
    summary: ClassVar[str] = "Seats, plan, cycle, partner or the per-seat snapshot changed."


class SubscriptionPaused(SubscriptionEvent):
    type: ClassVar[str] = "subscription.paused.v1"
    summary: ClassVar[str] = "Collection is paused, because the tenant is suspended."


class SubscriptionResumed(SubscriptionEvent):
    type: ClassVar[str] = "subscription.resumed.v1"
    summary: ClassVar[str] = "Collection goes on."


class SubscriptionCanceled(SubscriptionEvent):
    type: ClassVar[str] = "subscription.canceled.v1"
    summary: ClassVar[str] = "The subscription ended with its tenant."
