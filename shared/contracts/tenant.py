"""Events of the tenant service: tenants, people, provisioning."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, CloudEvent, Contract, Event, Moment, Personal

TenantStatus = Literal["pending", "active", "suspended", "deleting", "deleted"]
Cycle = Literal["month", "year"]
Integration = Literal["authentik", "stalwart", "ocis"]
ConditionStatus = Literal["ready", "pending", "failed"]


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


class TenantActivated(TenantEvent):
    type: ClassVar[str] = "tenant.activated.v1"
    summary: ClassVar[str] = "Every integration holds what a new tenant needs."


class TenantReconcileRequested(Event):
    type: ClassVar[str] = "tenant.reconcile_requested.v1"
    summary: ClassVar[str] = "An operator asked for a tenant to be compared with the integrations at once."


class ConditionState(Contract):
    """How far one integration agrees with a tenant.

    Attributes:
        status: ``pending`` heals by itself, ``failed`` waits for somebody; both are tried again.
        reason: one word for machines; ``Proven`` means that a suspension was observed from outside.
        message: for people; names persons by id only.
        at: since when the status is what it is.
        observed_generation: version of the tenant that was compared.
    """

    status: ConditionStatus
    reason: str
    message: str
    at: Moment
    observed_generation: int


class ProvisioningState(Contract):
    """The conditions of a tenant; ``version`` counts their changes, not those of the tenant."""

    tenant_id: str
    slug: str
    conditions: dict[str, ConditionState]
    version: int


class ProvisioningChanges(Contract):
    status: Change[ConditionStatus] | None = None
    reason: Change[str] | None = None


class TenantProvisioningChanged(Event):
    type: ClassVar[str] = "tenant.provisioning_changed.v1"
    summary: ClassVar[str] = "An integration came to agree with a tenant, or ceased to."
    integration: Integration
    state: ProvisioningState
    changes: ProvisioningChanges

    @property
    def subject(self) -> str:
        """The resource path: ``provisioning/acme``."""
        return f"provisioning/{self.resource.id}"


def tenant_state_of(event: CloudEvent) -> TenantState | None:
    """Return the tenant's state that an event carries; None for a refusal, and for what is about something else.

    Raises:
        ValidationError: it carries a tenant's state in no known shape.
    """
    state = event.data.get("state")
    if state is None or not event.subject.startswith("tenants/"):
        return None
    return TenantState.model_validate(state)
