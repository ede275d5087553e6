"""Recurring revenue as it is shown: months from years, by largest remainder, so that the parts sum to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.billing.models import Subscription
from services.billing.repository import RevenueRow, RevenueScope, SubscriptionRepository
from shared.auth import Person
from shared.errors import InsufficientRole, NotFound
from shared.money import month_of_year, shares


@dataclass(frozen=True, slots=True)
class Part:
    """A group's share of revenue; money in minor units of the summary's currency."""

    key: str | None
    mrr: int
    arr: int
    subscriptions: int
    seats: int


@dataclass(frozen=True, slots=True)
class Revenue:
    """Revenue in one currency; the parts' MRR sums to the whole's."""

    currency: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int
    parts: tuple[Part, ...]


def revenue_of(rows: Sequence[RevenueRow]) -> list[Revenue]:
    """Return revenue per currency with its parts; a part's month is its share of the whole's month."""
    found = []
    for currency in sorted({row.currency for row in rows}):
        own = [row for row in rows if row.currency == currency]
        arr = sum(row.arr for row in own)
        month = month_of_year(arr)
        months = shares(month, [row.arr for row in own])
        parts = tuple(
            Part(row.key, part, row.arr, row.subscriptions, row.seats) for row, part in zip(own, months, strict=True)
        )
        totals = (sum(row.subscriptions for row in own), sum(row.seats for row in own))
        found.append(Revenue(currency, month, arr, *totals, parts))
    return found


class RevenueService:
    """Who may see whose revenue."""

    def __init__(self, subscriptions: SubscriptionRepository) -> None:
        self._subscriptions = subscriptions

    async def platform(self, caller: Person) -> list[Revenue]:
        """Return revenue within the caller's scope: by partner for operators, by tenant for others.

        Raises:
            InsufficientRole: a plain member sees no money.
        """
        scope = RevenueScope.of(caller)
        if scope.is_empty:
            raise InsufficientRole("ask an administrator of your organisation")
        rows = await self._subscriptions.revenue(scope=scope, by="partner" if scope.everything else "tenant_slug")
        return revenue_of(rows)

    async def partner(self, caller: Person, slug: str) -> list[Revenue]:
        """Return a partner's revenue by tenant.

        Raises:
            NotFound: it is not the caller's partner.
        """
        if not (caller.is_operator or (caller.partner and caller.partner.slug == slug)):
            raise NotFound
        rows = await self._subscriptions.revenue(scope=RevenueScope(partner=slug), by="tenant_slug")
        return revenue_of(rows)

    async def tenant(self, caller: Person, slug: str) -> Subscription:
        """Return a tenant's subscription.

        Raises:
            NotFound: it is outside the caller's scope. InsufficientRole: the caller is a plain member.
        """
        if not caller.is_operator and caller.tenants.get(slug) == "member":
            raise InsufficientRole("ask an administrator of your organisation")
        subscription = await self._subscriptions.find(scope=RevenueScope.of(caller), tenant_slug=slug)
        if subscription is None:
            raise NotFound
        return subscription
