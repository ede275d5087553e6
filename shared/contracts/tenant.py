"""Events of the tenant service: tenants, people, provisioning."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, Contract, Event, Moment, Personal

TenantStatus = Literal["pending", "active", "suspended", "deleting", "deleted"]
Cycle = Literal["month", "year"]


class DomainState(Contract):
    """A mail domain of a tenant, in its ASCII (A-label) form."""

    name: str
    primary: bool


class BillingContact(Contract):
    """Where invoices go."""

    contact: Personal[str] | None = None
    company: str | None = None
    address: Personal[str] | None = None


class TenantState(Contract):
    """The full public state of a tenant after a change.

    Attributes:
        id: immutable; flag buckets and Stripe metadata hang on it.
        partner: slug of the owning partner, None while detached.
    """

    id: str
    slug: str
    name: str
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    domains: tuple[DomainState, ...]
    billing: BillingContact
    partner: str | None
    status: TenantStatus
    suspended_reason: str | None = None
    created_at: Moment
    updated_at: Moment
    version: int


class TenantChanges(Contract):
    """Fields of a tenant before and after; a field that did not change is absent."""

    name: Change[str] | None = None
    plan: Change[str] | None = None
    cycle: Change[Cycle] | None = None
    currency: Change[str] | None = None
    seats: Change[int] | None = None
    domains: Change[tuple[DomainState, ...]] | None = None
    billing: Change[BillingContact] | None = None
    partner: Change[str] | None = None
    status: Change[TenantStatus] | None = None
    suspended_reason: Change[str] | None = None


class TenantEvent(Event):
    """What all events of a tenant's life carry."""

    state: TenantState
    changes: TenantChanges


class TenantCreated(TenantEvent):
    type: ClassVar[str] = "tenant.created.v1"
    summary: ClassVar[str] = "A partner created a tenant."


class TenantUpdated(TenantEvent):
    type: ClassVar[str] = "tenant.updated.v1"
    summary: ClassVar[str] = "Name, domains, seats, plan, cycle or billing contact changed."


class TenantSuspended(TenantEvent):
    type: ClassVar[str] = "tenant.suspended.v1"
    summary: ClassVar[str] = "An operator suspended a tenant."
    reason: str


class TenantResumed(TenantEvent):
    type: ClassVar[str] = "tenant.resumed.v1"
    summary: ClassVar[str] = "An operator resumed a suspended tenant."
