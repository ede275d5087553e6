"""What the report API gives, as JSON and as tables. All money is in minor units."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field

from services.partner.reports.models import (
    Cohort,
    CurrencyLeaders,
    CurrencyRevenue,
    CustomerHealth,
    Health,
    PlanRevenue,
)
from services.partner.reports.tables import Table
from services.partner.standings.health import Level, Reason
from shared.schemas import Timestamp, View

AsOf = Annotated[Timestamp | None, Field(description="Time of the newest event about a customer that is in it.")]


class LevelCounts(View):
    at_risk: int
    watch: int
    healthy: int


class CustomerHealthView(View):
    slug: str
    name: str
    plan: str
    status: str
    level: Level
    reasons: list[Reason]
    seats: int
    seats_used: int
    last_sign_in_on: str | None


class HealthReport(View):
    """``counts`` is of all customers that are not being deleted; ``items`` is a page of them by slug."""

    as_of: AsOf
    counts: LevelCounts
    items: list[CustomerHealthView]
    next: str | None


class PlanRevenueView(View):
    plan: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int


class CurrencyRevenueView(View):
    """The plans' months sum to ``mrr``."""

    currency: str
    mrr: int
    arr: int
    subscriptions: int
    seats: int
    plans: list[PlanRevenueView]


class RevenueReport(View):
    """Live revenue by currency and plan."""

    as_of: AsOf
    currencies: list[CurrencyRevenueView]


class LeaderView(View):
    """A customer; ``mrr`` is the month of its subscription alone, as billing says it."""

    slug: str
    name: str
    plan: str
    cycle: str
    seats: int
    mrr: int
    arr: int


class CurrencyLeadersView(View):
    """The whole revenue in a currency, and the customers with the most of it."""

    currency: str
    mrr: int
    arr: int
    customers: list[LeaderView]


class LeadersReport(View):
    """The customers with the most revenue, by currency."""

    as_of: AsOf
    currencies: list[CurrencyLeadersView]


class RetainedView(View):
    month: str
    customers: int


class CohortView(View):
    """Those who came in ``month``, and how many of them were still customers at the end of each month since."""

    month: str
    customers: int
    retained: list[RetainedView]


class CohortReport(View):
    """Cohorts by month of signup, the oldest first."""

    as_of: AsOf
    cohorts: list[CohortView]


def health_report(health: Health) -> HealthReport:
    """Return a page of customers with their levels."""
    counts = LevelCounts(
        at_risk=health.counts["atRisk"], watch=health.counts["watch"], healthy=health.counts["healthy"]
    )
    items = [view for found in health.page.items if (view := _health_view(found)) is not None]
    return HealthReport(as_of=health.as_of, counts=counts, items=items, next=health.page.next)


def _health_view(found: CustomerHealth) -> CustomerHealthView | None:
    tenant, usage = found.customer.tenant, found.customer.usage
    if tenant is None:
        return None
    return CustomerHealthView(
        slug=tenant.slug,
        name=tenant.name,
        plan=tenant.plan,
        status=tenant.status,
        level=found.level,
        reasons=list(found.reasons),
        seats=tenant.seats,
        seats_used=usage.seats_used if usage is not None else 0,
        last_sign_in_on=usage.last_sign_in_on if usage is not None else None,
    )


def health_table(report: HealthReport) -> Table:
    header = ("slug", "name", "plan", "status", "level", "reasons", "seats", "seatsUsed", "lastSignInOn")
    rows = [
        (i.slug, i.name, i.plan, i.status, i.level, " ".join(i.reasons), i.seats, i.seats_used, i.last_sign_in_on)
        for i in report.items
    ]
    return Table("health", header, rows)


def revenue_report(as_of: datetime | None, revenues: Sequence[CurrencyRevenue]) -> RevenueReport:
    """Return live revenue by currency and plan."""
    return RevenueReport(
        as_of=as_of,
        currencies=[
            CurrencyRevenueView(
                currency=r.currency,
                mrr=r.mrr,
                arr=r.arr,
                subscriptions=r.subscriptions,
                seats=r.seats,
                plans=[_plan_view(plan) for plan in r.plans],
            )
            for r in revenues
        ],
    )


def _plan_view(plan: PlanRevenue) -> PlanRevenueView:
    return PlanRevenueView(
        plan=plan.plan, mrr=plan.mrr, arr=plan.arr, subscriptions=plan.subscriptions, seats=plan.seats
    )


def revenue_table(report: RevenueReport) -> Table:
    header = ("currency", "plan", "mrr", "arr", "subscriptions", "seats")
    rows = [(c.currency, p.plan, p.mrr, p.arr, p.subscriptions, p.seats) for c in report.currencies for p in c.plans]
    return Table("revenue-by-plan", header, rows)


def leaders_report(as_of: datetime | None, found: Sequence[CurrencyLeaders]) -> LeadersReport:
    """Return the customers with the most revenue in each currency."""
    return LeadersReport(as_of=as_of, currencies=[_leaders_view(leaders) for leaders in found])


def _leaders_view(leaders: CurrencyLeaders) -> CurrencyLeadersView:
    customers = [
        LeaderView(
            slug=customer.tenant.slug,
            name=customer.tenant.name,
            plan=sub.plan,
            cycle=sub.cycle,
            seats=sub.seats,
            mrr=sub.mrr,
            arr=sub.arr,
        )
        for customer in leaders.customers
        if (sub := customer.subscription) is not None and customer.tenant is not None
    ]
    revenue = leaders.revenue
    return CurrencyLeadersView(currency=revenue.currency, mrr=revenue.mrr, arr=revenue.arr, customers=customers)


def leaders_table(report: LeadersReport) -> Table:
    header = ("currency", "slug", "name", "plan", "cycle", "seats", "mrr", "arr")
    rows = [
        (c.currency, i.slug, i.name, i.plan, i.cycle, i.seats, i.mrr, i.arr)
        for c in report.currencies
        for i in c.customers
    ]
    return Table("top-customers", header, rows)


def cohort_report(as_of: datetime | None, cohorts: Sequence[Cohort]) -> CohortReport:
    """Return cohorts, the oldest first."""
    return CohortReport(
        as_of=as_of,
        cohorts=[
            CohortView(
                month=cohort.month,
                customers=cohort.customers,
                retained=[RetainedView(month=month, customers=n) for month, n in cohort.retained],
            )
            for cohort in cohorts
        ],
    )


def cohort_table(report: CohortReport) -> Table:
    header = ("cohort", "customers", "month", "retained")
    rows = [(c.month, c.customers, r.month, r.customers) for c in report.cohorts for r in c.retained]
    return Table("cohorts", header, rows)
