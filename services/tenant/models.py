"""A tenant and its transitions: pure functions of the model and the time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from shared.contracts.envelope import changes_of
from shared.contracts.tenant import BillingContact, Cycle, DomainState, TenantChanges, TenantState, TenantStatus
from shared.errors import Conflict, Invalid

MAX_SEATS = 100_000
MAX_DOMAINS = 50


class SlugTaken(Conflict):
    code, title = "slug_taken", "A tenant with this slug exists or existed"


class DomainTaken(Conflict):
    code, title = "domain_taken", "A domain belongs to another tenant"


class PartnerNotActive(Conflict):
    code, title = "partner_not_active", "The partner takes no new tenants now"


class NoPriceForPlan(Invalid):
    code, title = "no_price_for_plan", "The catalog does not sell this"


class WrongStatus(Conflict):
    code, title = "wrong_status", "The tenant's status does not allow this"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of a partner. ``version`` counts the committed changes, from 1."""

    id: str
    slug: str
    name: str
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    partner: str | None
    status: TenantStatus
    created_at: datetime
    updated_at: datetime
    version: int = 1
    domains: tuple[DomainState, ...] = ()
    billing: BillingContact = field(default_factory=BillingContact)
    suspended_reason: str | None = None

    def activate(self, at: datetime) -> Tenant:
        """Open a new tenant once every integration is ready for it; activating an active tenant changes nothing."""
        if self.status == "active":
            return self
        if self.status != "pending":
            raise WrongStatus(f"only a pending tenant can become active; this one is {self.status}")
        return self._changed(at, status="active")

    def suspend(self, reason: str, at: datetime) -> Tenant:
        """Stop the suite for this tenant; suspending a suspended tenant changes nothing."""
        if self.status == "suspended":
            return self
        if self.status != "active":
            raise WrongStatus(f"only an active tenant can be suspended; this one is {self.status}")
        return self._changed(at, status="suspended", suspended_reason=reason)

    def resume(self, at: datetime) -> Tenant:
        """Undo a suspension; resuming an active tenant changes nothing."""
        if self.status == "active":
            return self
        if self.status != "suspended":
            raise WrongStatus(f"only a suspended tenant can be resumed; this one is {self.status}")
        return self._changed(at, status="active", suspended_reason=None)

    def update(self, at: datetime, **changes: Any) -> Tenant:
        """Take over new values of name, plan, cycle, seats, domains or billing; the same values change nothing.

        Raises:
            WrongStatus: a tenant that is being deleted no longer changes.
        """
        if self.status in {"deleting", "deleted"}:
            raise WrongStatus(f"a tenant that is {self.status} cannot be changed")
        if all(getattr(self, name) == value for name, value in changes.items()):
            return self
        return self._changed(at, **changes)

    def _changed(self, at: datetime, **changes: Any) -> Tenant:
        return replace(self, **changes, updated_at=at, version=self.version + 1)


def one_primary(domains: tuple[DomainState, ...]) -> tuple[DomainState, ...]:
    """Return ``domains`` with exactly one primary: the marked one, or the first.

    Raises:
        Invalid: a domain is given twice, or two are marked.
    """
    names = [domain.name for domain in domains]
    if len(set(names)) != len(names):
        raise Invalid.field("domains", "duplicate_domain", "names each domain once")
    marked = [domain for domain in domains if domain.primary]
    if len(marked) > 1:
        raise Invalid.field("domains", "two_primaries", "mark one domain as primary")
    if domains and not marked:
        return (DomainState(name=domains[0].name, primary=True), *domains[1:])
    return domains


def state_of(tenant: Tenant) -> TenantState:
    """Return the public state that events carry."""
    return TenantState.model_validate({f.name: getattr(tenant, f.name) for f in fields(tenant)})


def changes_between(before: Tenant | None, after: Tenant) -> TenantChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(TenantChanges, before, after)
