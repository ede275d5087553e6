"""What the billing API takes and gives. All money is in minor units."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.billing.catalog import Impact
from services.billing.models import Price, Subscription
from services.billing.mrr import Revenue
from shared.contracts.billing import Cycle, SubscriptionStatus
from shared.money import month_of_year
from shared.schemas import Input, Timestamp, View

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Amount = Annotated[int, Field(ge=0, le=10_000_000_00)]
Amounts = Annotated[dict[Currency, Amount], Field(min_length=1, max_length=20)]
PlanKey = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$")]


class CreatePrice(Input):
    """A price: minor units per seat and cycle, by ISO 4217 currency."""

    plan: PlanKey
    cycle: Cycle
    amounts: Amounts


class UpdatePrice(Input):
    """New amounts of some currencies; the others stay."""

    amounts: Amounts


class PriceView(View):
    id: str
    plan: str
    cycle: Cycle
    amounts: dict[str, int]
    archived: bool
    created_at: Timestamp
    updated_at: Timestamp
    version: int


class PriceList(View):
    items: list[PriceView]
    next: str | None


class ImpactView(View):
    """What a new amount would mean: who is concerned, and monthly revenue before and after."""

    currency: str
    amount: int
    subscriptions: int
    tenants: int
    partners: int
    mrr_before: int
    mrr_after: int


class SubscriptionView(View):
    """A tenant's subscription; ``perSeat`` is the snapshot that it is billed by."""

    id: str
    tenant_slug: str
    partner: str | None
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    per_seat: int | None
    status: SubscriptionStatus
    finding: str | None
    mrr: int
    arr: int
    started_at: Timestamp
    updated_at: Timestamp
    version: int


class TenantSummary(View):
    """``stripe`` says whether money moves."""

    subscription: SubscriptionView
    stripe: str = "off"


class PartView(View):
    key: str | None
    mrr: int
    arr: int
    subscriptions: int
    seats: int


class RevenueView(View):
    currency: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int
    parts: list[PartView]


class RevenueSummary(View):
    """Recurring revenue per currency; ``groupedBy`` says what the parts' keys are."""

    grouped_by: str
    currencies: list[RevenueView]
    stripe: str = "off"


def price_view(price: Price) -> PriceView:
    """Return all of a price."""
    names = PriceView.model_fields
    return PriceView.model_validate({name: getattr(price, name) for name in names})


def impact_view(currency: str, amount: int, impact: Impact) -> ImpactView:
    """Return what a new amount would mean."""
    return ImpactView(
        currency=currency,
        amount=amount,
        subscriptions=impact.subscriptions,
        tenants=impact.tenants,
        partners=impact.partners,
        mrr_before=month_of_year(impact.arr_before),
        mrr_after=month_of_year(impact.arr_after),
    )


def tenant_summary(subscription: Subscription) -> TenantSummary:
    """Return a tenant's subscription with its revenue."""
    values = {name: getattr(subscription, name) for name in SubscriptionView.model_fields}
    return TenantSummary(subscription=SubscriptionView(**values))


def revenue_summary(grouped_by: str, revenues: list[Revenue]) -> RevenueSummary:
    """Return revenue with its parts."""
    return RevenueSummary(
        grouped_by=grouped_by,
        currencies=[
            RevenueView(
                currency=r.currency,
                mrr=r.mrr,
                arr=r.arr,
                subscriptions=r.subscriptions,
                seats=r.seats,
                parts=[
                    PartView(key=p.key, mrr=p.mrr, arr=p.arr, subscriptions=p.subscriptions, seats=p.seats)
                    for p in r.parts
                ],
            )
            for r in revenues
        ],
    )
