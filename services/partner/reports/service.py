"""Who may see which report, and what it says now."""

from __future__ import annotations

from datetime import datetime

from services.partner.customers.models import month_of
from services.partner.reports.models import (
    Cohort,
    CurrencyLeaders,
    CurrencyRevenue,
    CustomerHealth,
    Health,
    cohorts_of,
    months_back,
    revenue_of,
)
from services.partner.repository import PartnerRepository
from services.partner.scope import Scope
from services.partner.standings.health import Level, health_of
from services.partner.standings.repository import StandingRepository
from shared.auth import Person
from shared.clock import Clock
from shared.errors import NotFound
from shared.paging import Page

Moment = datetime | None
"""The time of the newest event in a report; None where none has come."""


class ReportService:
    """The four reports. Each raises NotFound for a partner that does not exist, or not for this caller."""

    def __init__(self, partners: PartnerRepository, standings: StandingRepository, clock: Clock) -> None:
        self._partners = partners
        self._standings = standings
        self._clock = clock

    async def health(self, caller: Person, slug: str, level: Level | None, limit: int, cursor: str | None) -> Health:
        """Return how many customers are at each level, and a page of those at ``level``, by slug."""
        await self._require(caller, slug)
        now = self._clock.now()
        page = await self._standings.page(partner=slug, level=level, now=now, limit=limit, cursor=cursor)
        counts = await self._standings.count_by_level(partner=slug, now=now)
        judged: list[CustomerHealth] = []
        for customer in page.items:
            found, reasons = health_of(customer, now)
            judged.append(CustomerHealth(customer, found, tuple(reasons)))
        return Health(await self._standings.heard_at(partner=slug), counts, Page(judged, page.next))

    async def revenue(self, caller: Person, slug: str) -> tuple[Moment, list[CurrencyRevenue]]:
        """Return live revenue by currency and plan."""
        await self._require(caller, slug)
        rows = await self._standings.revenue(partner=slug)
        return await self._standings.heard_at(partner=slug), revenue_of(rows)

    async def leaders(self, caller: Person, slug: str, limit: int) -> tuple[Moment, list[CurrencyLeaders]]:
        """Return the ``limit`` customers with the most revenue in each currency."""
        as_of, revenues = await self.revenue(caller, slug)
        found: list[CurrencyLeaders] = []
        for revenue in revenues:
            largest = await self._standings.largest(partner=slug, currency=revenue.currency, limit=limit)
            found.append(CurrencyLeaders(revenue, largest))
        return as_of, found

    async def cohorts(self, caller: Person, slug: str, months: int) -> tuple[Moment, list[Cohort]]:
        """Return the cohorts of the last ``months`` months, this one included, the oldest first."""
        await self._require(caller, slug)
        wanted = months_back(month_of(self._clock.now()), months)
        stays = await self._standings.stays(partner=slug, since=wanted[0])
        return await self._standings.heard_at(partner=slug), cohorts_of(stays, wanted)

    async def _require(self, caller: Person, slug: str) -> None:
        if await self._partners.find(scope=Scope.of(caller), slug=slug) is None:
            raise NotFound
