"""A partner and its contract: pure functions of the model and the time.

Dates are ISO 8601 calendar dates (``2026-12-01``) in UTC, kept as text: in that form they sort as they follow
each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from shared.contracts.envelope import changes_of
from shared.contracts.partner import (
    ContactState,
    ContractState,
    MarginState,
    PartnerChanges,
    PartnerState,
    PartnerStatus,
    TerminationState,
)
from shared.errors import Conflict, Invalid

MAX_MARGINS = 120
MAX_BPS = 10_000
MAX_TERM_MONTHS = 120


class SlugTaken(Conflict):
    code, title = "slug_taken", "A partner with this slug exists or existed"


class WrongStatus(Conflict):
    code, title = "wrong_status", "The partner's status does not allow this"


class PartnerHasCustomers(Conflict):
    code, title = "partner_has_customers", "The partner has customers"


class TransferTargetNotActive(Conflict):
    code, title = "transfer_target_not_active", "The partner that is to take over takes no customers now"


class Kept(Enum):
    """Says of a field that may be cleared: it stays as it is."""

    KEPT = "kept"


KEPT = Kept.KEPT


@dataclass(frozen=True, slots=True)
class MarginChange:
    """A margin to hold from a date on; None takes back one that was to begin then."""

    since: str
    margin_bps: int | None


@dataclass(frozen=True, slots=True)
class PartnerChange:
    """What to change. ``name`` None keeps it; ``contact`` holds the fields to set, with None to clear."""

    name: str | None = None
    domain: str | Kept | None = KEPT
    contact: Mapping[str, str | None] = field(default_factory=dict)
    margins: tuple[MarginChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Partner:
    """Who sells the suite. ``version`` counts the committed changes, from 1."""

    id: str
    slug: str
    name: str
    contract: ContractState
    status: PartnerStatus
    created_at: datetime
    updated_at: datetime
    version: int = 1
    domain: str | None = None
    contact: ContactState = field(default_factory=ContactState)
    termination: TerminationState | None = None
    suspended_reason: str | None = None

    def change(self, wanted: PartnerChange, at: datetime) -> Partner:
        """Apply ``wanted``; what is already so changes nothing, and then this very object is returned.

        Raises:
            Invalid: a margin that the contract cannot take, naming its field.
            WrongStatus: it is being terminated or has ended; until the answer its version stands still.
        """
        if self.status in {"terminating", "terminated"}:
            raise WrongStatus(f"a partner that is {self.status} cannot be changed")
        after = replace(
            self,
            name=self.name if wanted.name is None else wanted.name,
            domain=self.domain if isinstance(wanted.domain, Kept) else wanted.domain,
            contact=self.contact.model_copy(update=dict(wanted.contact)),
            contract=with_margins(self.contract, wanted.margins, at.astimezone(UTC).date()),
        )
        if after == self:
            return self
        return replace(after, updated_at=at, version=self.version + 1)

    def suspend(self, reason: str, at: datetime) -> Partner:
        """Let it take no new customers; suspending a suspended partner changes nothing.

        Raises:
            WrongStatus: it is being terminated or has ended.
        """
        if self.status == "suspended":
            return self
        if self.status != "active":
            raise WrongStatus(f"only an active partner can be suspended; this one is {self.status}")
        return self._changed(at, status="suspended", suspended_reason=reason)

    def resume(self, at: datetime) -> Partner:
        """Undo a suspension; resuming an active partner changes nothing.

        Raises:
            WrongStatus: it is being terminated or has ended.
        """
        if self.status == "active":
            return self
        if self.status != "suspended":
            raise WrongStatus(f"only a suspended partner can be resumed; this one is {self.status}")
        return self._changed(at, status="active", suspended_reason=None)

    def terminate(self, transfer_to: str | None, at: datetime) -> Partner:
        """Begin to end it; what has begun or is over already changes nothing.

        Raises:
            WrongStatus: a termination with another target is going on.
        """
        if self.status == "terminated":
            return self
        if self.termination is not None:
            if self.termination.transfer_to != transfer_to:
                raise WrongStatus("it is being terminated with another transferTo: wait for the outcome")
            return self
        begun = TerminationState(requested_at=at, transfer_to=transfer_to, restores_to=self.status)
        return self._changed(at, status="terminating", termination=begun)

    def end(self, customers: int, at: datetime) -> Partner:
        """Finish a termination: without customers it is terminated, with some it is what it was before.

        Raises:
            WrongStatus: it is not being terminated.
        """
        if self.status != "terminating" or self.termination is None:
            raise WrongStatus("only a partner that is being terminated ends")
        if customers:
            return self._changed(at, status=self.termination.restores_to, termination=None)
        over = self.termination.model_copy(update={"terminated_at": at})
        return self._changed(at, status="terminated", termination=over)

    def _changed(self, at: datetime, **changes: Any) -> Partner:
        return replace(self, **changes, updated_at=at, version=self.version + 1)


@dataclass(frozen=True, slots=True)
class Overview:
    """A partner, and how many customers it has now; the number is no part of the partner's version."""

    partner: Partner
    customers: int


def new_contract(starts_on: str, term_months: int, margins: Sequence[MarginState]) -> ContractState:
    """Return a contract with its margins by date; they may lie in the past, because nobody was paid by it yet.

    Raises:
        Invalid: two margins for one date, or none that begins with the contract.
    """
    dates = [margin.since for margin in margins]
    _refuse_twice(dates)
    if not dates or min(dates) != starts_on:
        raise Invalid.field(
            "contract.margins", "no_first_margin", "the first margin begins with the contract: give one since startsOn"
        )
    return ContractState(starts_on=starts_on, term_months=term_months, margins=_by_date(margins))


def with_margins(contract: ContractState, wanted: Sequence[MarginChange], today: date) -> ContractState:
    """Return ``contract`` with ``wanted`` applied; the past is never rewritten.

    What is so already may be said again, whatever its date, so that a client may send back what it read.

    Raises:
        Invalid: a date twice, before today or before the contract, or the contract's first margin taken back.
    """
    _refuse_twice([change.since for change in wanted])
    margins = {margin.since: margin.margin_bps for margin in contract.margins}
    for number, change in enumerate(wanted):
        if margins.get(change.since) == change.margin_bps:
            continue
        place = f"contract.margins.{number}"
        if change.since < today.isoformat():
            raise Invalid.field(f"{place}.since", "in_the_past", f"choose {today} or later: the past is not rewritten")
        if change.since < contract.starts_on:
            raise Invalid.field(f"{place}.since", "before_contract", f"the contract begins on {contract.starts_on}")
        if change.margin_bps is not None:
            margins[change.since] = change.margin_bps
        elif change.since == contract.starts_on:
            raise Invalid.field(f"{place}.marginBps", "no_first_margin", "a contract has a margin from its start on")
        else:
            del margins[change.since]
    if len(margins) > MAX_MARGINS:
        raise Invalid.field("contract.margins", "too_many_margins", f"a contract has at most {MAX_MARGINS} margins")
    found = [MarginState(since=since, margin_bps=bps) for since, bps in margins.items()]
    return contract.model_copy(update={"margins": _by_date(found)})


def _refuse_twice(dates: Sequence[str]) -> None:
    if len(set(dates)) != len(dates):
        raise Invalid.field("contract.margins", "duplicate_date", "name each date once")


def _by_date(margins: Sequence[MarginState]) -> tuple[MarginState, ...]:
    return tuple(sorted(margins, key=lambda margin: margin.since))


def state_of(partner: Partner) -> PartnerState:
    """Return the public state that events carry."""
    return PartnerState.model_validate({f.name: getattr(partner, f.name) for f in fields(partner)})


def changes_between(before: Partner | None, after: Partner) -> PartnerChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(PartnerChanges, before, after)
