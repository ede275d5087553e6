"""Whether a customer is well: the rules of ``docs/partner-reports.md``, each as the time during which it holds.

A rule that waits (a payment failed more than seven days ago) is a span that begins later. So nothing has to run when a
day is over: the database compares stored times with now, and an index can answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from datetime import date as day
from typing import Literal

from services.partner.customers.models import Customer, TenantPart

Level = Literal["atRisk", "watch", "healthy"]
Reason = Literal["payment_failed", "suspended", "no_sign_in", "seats_unused", "not_ready", "seats_cut"]

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

PAYMENT = timedelta(days=7)
QUIET = timedelta(days=30)
SETTLING = timedelta(days=30)
UNREADY = timedelta(hours=24)
CUT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Span:
    """A rule holds after ``since`` and before ``until``."""

    level: Level
    reason: Reason
    since: datetime
    until: datetime = NEVER

    def holds(self, now: datetime) -> bool:
        return self.since < now < self.until


@dataclass(frozen=True, slots=True)
class Standing:
    """When a customer's level changes by itself: what the index holds."""

    risk_from: datetime
    watch_from: datetime
    cut_until: datetime


def spans_of(customer: Customer) -> list[Span]:
    """Return every rule that holds at some time, given that nothing else happens; the order is that of the document."""
    tenant = customer.tenant
    if tenant is None:
        return []
    spans: list[Span] = []
    if (sub := customer.subscription) is not None and sub.live and sub.payment_failed_at is not None:
        spans.append(Span("atRisk", "payment_failed", sub.payment_failed_at + PAYMENT))
    if tenant.status == "suspended":
        spans.append(Span("atRisk", "suspended", LONG_AGO))
    spans.append(Span("atRisk", "no_sign_in", _quiet_since(customer, tenant)))
    used = customer.usage.seats_used if customer.usage is not None else 0
    if 2 * used < tenant.seats:
        spans.append(Span("watch", "seats_unused", tenant.created_at + SETTLING))
    if customer.provisioning is not None and customer.provisioning.unready_since is not None:
        spans.append(Span("watch", "not_ready", customer.provisioning.unready_since + UNREADY))
    # At least a fifth fewer than before the cut: five times now is at most four times before.
    ends = [cut.at + CUT for cut in customer.cuts if 5 * tenant.seats <= 4 * cut.seats]
    if ends:
        spans.append(Span("watch", "seats_cut", LONG_AGO, max(ends)))
    return spans


def _quiet_since(customer: Customer, tenant: TenantPart) -> datetime:
    """Return when 30 whole days without a sign-in are over; who never signed in is counted from the signup."""
    if customer.usage is None or customer.usage.last_sign_in_on is None:
        return tenant.created_at + QUIET
    last = day.fromisoformat(customer.usage.last_sign_in_on)
    return datetime.combine(last + timedelta(days=1), time.min, UTC) + QUIET


def standing_of(customer: Customer) -> Standing:
    """Return the times that an index needs to tell the level at any moment."""
    spans = spans_of(customer)
    return Standing(
        risk_from=min((span.since for span in spans if span.level == "atRisk"), default=NEVER),
        watch_from=min((s.since for s in spans if s.level == "watch" and s.until == NEVER), default=NEVER),
        cut_until=max((s.until for s in spans if s.level == "watch" and s.until != NEVER), default=LONG_AGO),
    )


def health_of(customer: Customer, now: datetime) -> tuple[Level, list[Reason]]:
    """Return the level, and the rules that hold now."""
    holding = [span for span in spans_of(customer) if span.holds(now)]
    levels = {span.level for span in holding}
    level: Level = "atRisk" if "atRisk" in levels else "watch" if "watch" in levels else "healthy"
    return level, [span.reason for span in holding]
