"""Events of the partner service."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, Contract, Event, Moment, Personal

PartnerStatus = Literal["active", "suspended", "terminating", "terminated"]


class MarginState(Contract):
    """The partner's share from a date on: basis points of the revenue, 0 to 10,000.

    Attributes:
        since: ISO 8601 date (UTC) on which it begins to hold; the past is never rewritten.
    """

    since: str
    margin_bps: int


class ContractState(Contract):
    """The agreement with a partner: start as an ISO 8601 date, term in months, margins by date."""

    starts_on: str
    term_months: int
    margins: tuple[MarginState, ...]


class ContactState(Contract):
    """Whom to call."""

    name: Personal[str] | None = None
    email: Personal[str] | None = None
    phone: Personal[str] | None = None


class TerminationState(Contract):
    """How the end of a partner stands.

    Attributes:
        transfer_to: the partner that takes over its customers; None where it must have none.
        restores_to: the status that a refusal gives back.
    """

    requested_at: Moment
    transfer_to: str | None = None
    terminated_at: Moment | None = None
    restores_to: PartnerStatus = "active"


class PartnerState(Contract):
    """The full public state of a partner after a change."""

    id: str
    slug: str
    name: str
    domain: str | None
    contact: ContactState
    contract: ContractState
    status: PartnerStatus
    created_at: Moment
    updated_at: Moment
    version: int
    termination: TerminationState | None = None
    suspended_reason: str | None = None


class PartnerChanges(Contract):
    """Fields of a partner before and after; a field that did not change is absent."""

    name: Change[str] | None = None
    domain: Change[str] | None = None
    contact: Change[ContactState] | None = None
    contract: Change[ContractState] | None = None
    status: Change[PartnerStatus] | None = None
    termination: Change[TerminationState] | None = None
    suspended_reason: Change[str] | None = None


class PartnerEvent(Event):
    """What all events of a partner's life carry."""

    state: PartnerState
    changes: PartnerChanges


class PartnerCreated(PartnerEvent):
    type: ClassVar[str] = "partner.created.v1"
    summary: ClassVar[str] = "An operator created a partner."


class PartnerUpdated(PartnerEvent):
    type: ClassVar[str] = "partner.updated.v1"
    summary: ClassVar[str] = "Name, domain, contact or contract changed."


class PartnerSuspended(PartnerEvent):
    type: ClassVar[str] = "partner.suspended.v1"
    summary: ClassVar[str] = "A partner takes no new customers for now."
    reason: str


class PartnerResumed(PartnerEvent):
    type: ClassVar[str] = "partner.resumed.v1"
    summary: ClassVar[str] = "A suspended partner takes customers again."


class PartnerTerminationStarted(PartnerEvent):
    """The partner takes no customers from here on; the tenant service answers with how many it has."""

    type: ClassVar[str] = "partner.termination_started.v1"
    summary: ClassVar[str] = "An operator began to terminate a partner."


class PartnerTerminationRefused(PartnerEvent):
    """Attributes:
    customers: how many there are; with one or more a partner is not terminated.
    """

    type: ClassVar[str] = "partner.termination_refused.v1"
    summary: ClassVar[str] = "A partner has customers, so it is what it was before."

    customers: int


class PartnerTerminated(PartnerEvent):
    type: ClassVar[str] = "partner.terminated.v1"
    summary: ClassVar[str] = "A partner without customers has ended."


class SavedReportState(Contract):
    """A report that a partner keeps: its definition, not its figures."""

    id: str
    partner: str
    name: str
    dataset: str
    version: int


class PartnerReportSaved(Event):
    type: ClassVar[str] = "partner.report_saved.v1"
    summary: ClassVar[str] = "A partner keeps a report of its own."
    state: SavedReportState


class PartnerReportRemoved(Event):
    type: ClassVar[str] = "partner.report_removed.v1"
    summary: ClassVar[str] = "A partner's own report is gone."
    state: SavedReportState
