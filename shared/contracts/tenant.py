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


class OwnershipState(Contract):
    """A partner's time with a tenant: from ``since`` until just before ``until``, which is None while it lasts."""

    partner: str
    since: Moment
    until: Moment | None = None


class DeletionState(Contract):
    """How far the deletion of a tenant is.

    Attributes:
        erase_after: until then it can be undone; after it the erasure in every backend begins.
        restores_to: the status that undoing gives back.
        erasing_since: when the erasure began; from then on nothing is undone.
        erased_at: when the last backend was seen to hold nothing of the tenant any more.
    """

    requested_at: Moment
    reason: str | None
    erase_after: Moment
    restores_to: TenantStatus
    erasing_since: Moment | None = None
    erased_at: Moment | None = None


class TenantState(Contract):
    """The full public state of a tenant after a change.

    Attributes:
        id: immutable; flag buckets and Stripe metadata hang on it.
        partner: slug of the owning partner, None while detached.
        ownership: who owned it when, the oldest first; it keeps its dates for ever.
        detached_until: while detached, how long the tenant waits for a new partner.
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
    ownership: tuple[OwnershipState, ...] = ()
    detached_until: Moment | None = None
    deletion: DeletionState | None = None


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
    detached_until: Change[Moment] | None = None
    deletion: Change[DeletionState] | None = None


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


class TenantDeletionRequested(TenantEvent):
    """From now on nobody uses the tenant; until ``state.deletion.eraseAfter`` it can be restored."""

    type: ClassVar[str] = "tenant.deletion_requested.v1"
    summary: ClassVar[str] = "An operator deleted a tenant; it can be restored for a while."


class TenantRestored(TenantEvent):
    type: ClassVar[str] = "tenant.restored.v1"
    summary: ClassVar[str] = "An operator undid the deletion of a tenant."


class TenantErasureStarted(TenantEvent):
    type: ClassVar[str] = "tenant.erasure_started.v1"
    summary: ClassVar[str] = "The time to restore a tenant is over; its data is being erased in every backend."


class TenantDeleted(TenantEvent):
    """Every backend was seen to hold nothing of the tenant any more.

    Attributes:
        certificate_sha256: hex digest of the signed certificate (JWS compact form) that says so.
    """

    type: ClassVar[str] = "tenant.deleted.v1"
    summary: ClassVar[str] = "A tenant's data is erased everywhere, which was seen."

    certificate_sha256: str


class TenantAttached(TenantEvent):
    type: ClassVar[str] = "tenant.attached.v1"
    summary: ClassVar[str] = "An operator gave a tenant without a partner to one."


class TenantDetached(TenantEvent):
    type: ClassVar[str] = "tenant.detached.v1"
    summary: ClassVar[str] = "An operator took a tenant from its partner; it waits for another one until a date."


class TenantTransferred(TenantEvent):
    """A tenant passed from one partner to another.

    Attributes:
        transfer: id of the request that was accepted; None where an operator moved it with its partner's end.
    """

    type: ClassVar[str] = "tenant.transferred.v1"
    summary: ClassVar[str] = "A tenant passed from one partner to another."

    from_partner: str | None
    to_partner: str
    transfer: str | None = None


TransferStatus = Literal["open", "accepted", "refused", "withdrawn", "expired"]


class TransferState(Contract):
    """A partner's request to take over a tenant.

    Attributes:
        tenant: slug as the partner gave it; whether there is such a tenant is not said.
    """

    id: str
    tenant: str
    to_partner: str
    status: TransferStatus
    opened_at: Moment
    expires_at: Moment
    closed_at: Moment | None = None
    version: int


class TransferChanges(Contract):
    status: Change[TransferStatus] | None = None


class TransferEvent(Event):
    """What all events of a transfer's life carry; the resource is the transfer, in the scope of its target partner."""

    state: TransferState
    changes: TransferChanges


class TenantTransferOpened(TransferEvent):
    type: ClassVar[str] = "tenant.transfer_opened.v1"
    summary: ClassVar[str] = "A partner asked to take over a tenant."


class TenantTransferClosed(TransferEvent):
    type: ClassVar[str] = "tenant.transfer_closed.v1"
    summary: ClassVar[str] = "A request to take over a tenant was accepted, refused, withdrawn, or has expired."


class TenantPartnerAnswered(Event):
    """The answer to ``partner.termination_started.v1``, from the tenants of that moment.

    Attributes:
        partner: slug of the partner that asked.
        partner_version: version of the partner that was answered.
        customers: how many tenants it owns that are not deleted; none can come after this answer.
    """

    type: ClassVar[str] = "tenant.partner_answered.v1"
    summary: ClassVar[str] = "The number of customers of a partner that is being terminated."

    partner: str
    partner_version: int
    customers: int


class UsageState(Contract):
    """How much a tenant is used.

    Attributes:
        seats_used: people who hold a seat.
        last_sign_in_on: the last day (UTC, ISO 8601) on which somebody of the tenant was seen.
    """

    tenant_id: str
    slug: str
    partner: str | None
    seats_used: int
    last_sign_in_on: str | None
    version: int


class UsageChanges(Contract):
    seats_used: Change[int] | None = None
    last_sign_in_on: Change[str] | None = None


class TenantUsageChanged(Event):
    """At most once a day and tenant for sign-ins, and whenever the number of seats used changes."""

    type: ClassVar[str] = "tenant.usage_changed.v1"
    summary: ClassVar[str] = "The seats used, or the day of the last sign-in, of a tenant changed."

    state: UsageState
    changes: UsageChanges

    @property
    def subject(self) -> str:
        """The resource path: ``usage/acme``."""
        return f"usage/{self.resource.id}"


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


class DriftState(Contract):
    """A difference between a tenant and an integration.

    Attributes:
        integration: where it is.
        kind: one word for machines, ``space-quota``; ``docs/drift.md`` lists them.
        object: the foreign object, in the integration's own words (a name or an id); no person is named.
    """

    integration: Integration
    kind: str
    object: str


class TenantDriftRepaired(Event):
    """Something that had been as it should be was found otherwise and was made right.

    Attributes:
        drift: what was found, at most 50 of it.
    """

    type: ClassVar[str] = "tenant.drift_repaired.v1"
    summary: ClassVar[str] = "What had been changed by hand in an integration was found and repaired."

    drift: tuple[DriftState, ...]


class TenantDriftAccepted(Event):
    """Attributes:
    expires_at: from then on it is repaired again.
    """

    type: ClassVar[str] = "tenant.drift_accepted.v1"
    summary: ClassVar[str] = "An operator accepted a difference in an integration, for a reason and until a date."

    drift: DriftState
    reason: str
    expires_at: Moment


class TenantDriftAcceptanceEnded(Event):
    type: ClassVar[str] = "tenant.drift_acceptance_ended.v1"
    summary: ClassVar[str] = "An accepted difference is repaired again: an operator said so, or its time is over."

    drift: DriftState


def tenant_state_of(event: CloudEvent) -> TenantState | None:
    """Return the tenant's state that an event carries; None for a refusal, and for what is about something else.

    Raises:
        ValidationError: it carries a tenant's state in no known shape.
    """
    state = event.data.get("state")
    if state is None or not event.subject.startswith("tenants/"):
        return None
    return TenantState.model_validate(state)
