"""The figures of the business, and what subscriptions still have to follow."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Gauge

from services.billing.repository import PriceRepository, RevenueScope, SubscriptionRepository
from shared.measuring import Measure

REVENUE_SECONDS = 60.0
"""Between two looks at revenue, which reads every live subscription."""

_subscriptions = Gauge("dezky_billing_subscriptions", "Live subscriptions", ["currency"])
_seats = Gauge("dezky_billing_seats", "Seats of live subscriptions", ["currency"])
_arr = Gauge("dezky_billing_arr_minor_units", "Annual recurring revenue, in the currency's minor unit", ["currency"])
_repricings = Gauge("dezky_billing_repricings_open", "Prices whose subscriptions have not all followed yet")


def measures(prices: PriceRepository, subscriptions: SubscriptionRepository) -> Sequence[Measure]:
    """Return them over the service's database."""

    async def look_at_revenue() -> None:
        rows = await subscriptions.revenue(scope=RevenueScope(everything=True), by=None)
        for gauge in (_subscriptions, _seats, _arr):
            gauge.clear()  # a currency in which nothing is live any more
        for row in rows:
            _subscriptions.labels(row.currency).set(row.subscriptions)
            _seats.labels(row.currency).set(row.seats)
            _arr.labels(row.currency).set(row.arr)

    async def look_at_repricings() -> None:
        _repricings.set(await prices.count_repricings())

    return [
        Measure("revenue", look_at_revenue, [_subscriptions, _seats, _arr], REVENUE_SECONDS),
        Measure("repricings", look_at_repricings, [_repricings]),
    ]
