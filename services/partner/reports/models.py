"""What the reports say: pure functions of sums and of the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.partner.customers.models import Customer
from services.partner.standings.health import Level, Reason
from services.partner.standings.repository import RevenueRow
from shared.errors import Conflict
from shared.money import month_of_year, shares
from shared.paging import Page


@dataclass(frozen=True, slots=True)
class CustomerHealth:
    """A customer's level now, and the rules that it hits."""

    customer: Customer
    level: Level
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """How many customers are at each level, and a page of them by slug."""

    as_of: datetime | None
    counts: Counter[Level]
    page: Page[CustomerHealth]


@dataclass(frozen=True, slots=True)
class PlanRevenue:
    """A plan's share of the revenue in one currency, in minor units."""

    plan: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int


@dataclass(frozen=True, slots=True)
class CurrencyRevenue:
    """Revenue in one currency; the plans' months sum to the whole's."""

    currency: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int
    plans: tuple[PlanRevenue, ...]


@dataclass(frozen=True, slots=True)
class CurrencyLeaders:
    """The customers with the most revenue in one currency."""

    revenue: CurrencyRevenue
    customers: Sequence[Customer]


@dataclass(frozen=True, slots=True)
class Cohort:
    """The customers who came in ``month``, and how many of them were still there when a month was over."""

    month: str
    customers: int
    retained: tuple[tuple[str, int], ...]


class TooManySavedReports(Conflict):
    code, title = "too_many_saved_reports", "The partner keeps as many reports as it may"


class ReportNameTaken(Conflict):
    code, title = "report_name_taken", "A report of this partner has this name"


def revenue_of(rows: Sequence[RevenueRow]) -> list[CurrencyRevenue]:
    """Return revenue per currency with its plans; ``rows`` are in the order of both."""
    found = []
    for currency in sorted({row.currency for row in rows}):
        own = [row for row in rows if row.currency == currency]
        arr = sum(row.arr for row in own)
        mrr = month_of_year(arr)
        plans = tuple(
            PlanRevenue(row.plan, month, row.arr, row.subscriptions, row.seats)
            for row, month in zip(own, shares(mrr, [row.arr for row in own]), strict=True)
        )
        totals = (sum(row.subscriptions for row in own), sum(row.seats for row in own))
        found.append(CurrencyRevenue(currency, mrr, arr, *totals, plans))
    return found


def months_back(month: str, count: int) -> list[str]:
    """Return the last ``count`` months up to ``month``, the oldest first."""
    last = int(month[:4]) * 12 + int(month[5:]) - 1
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(last - count + 1, last + 1)]


def cohorts_of(stays: Mapping[tuple[str, str], int], months: Sequence[str]) -> list[Cohort]:
    """Return a cohort for each of ``months``; {(month of signup, month in which they left): how many}."""
    return [
        Cohort(
            month,
            sum(n for (came, _), n in stays.items() if came == month),
            tuple(
                (seen, sum(n for (came, left), n in stays.items() if came == month and left > seen))
                for seen in months[place:]
            ),
        )
        for place, month in enumerate(months)
    ]
