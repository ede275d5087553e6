"""A partner's request to take over a tenant: pure functions of the model and the time."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime

from shared.contracts.envelope import changes_of
from shared.contracts.tenant import TransferChanges, TransferState, TransferStatus
from shared.errors import Conflict

MAX_OPEN = 100


class TransferClosed(Conflict):
    code, title = "transfer_closed", "The request has been answered, or is over"


class TransferAlreadyOpen(Conflict):
    code, title = "transfer_already_open", "The partner has asked for this tenant already"


class TooManyTransfers(Conflict):
    code, title = "too_many_transfers", "The partner waits for too many answers"


class OwnTenant(Conflict):
    code, title = "own_tenant", "The tenant is the partner's already"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Open until it is accepted, refused or withdrawn, or until ``expires_at``.

    Attributes:
        tenant: slug as the partner gave it; there may be no such tenant.
    """

    id: str
    tenant: str
    to_partner: str
    opened_at: datetime
    expires_at: datetime
    status: TransferStatus = "open"
    closed_at: datetime | None = None
    version: int = 1

    def overdue(self, at: datetime) -> bool:
        """Whether nobody has answered in time, be it written down yet or not."""
        return self.status == "open" and self.expires_at <= at

    def close(self, status: TransferStatus, at: datetime) -> Transfer:
        """Close an open request as ``status``; what is closed as that already does not change.

        Raises:
            TransferClosed: it is closed as something else, or its time is over.
        """
        if self.status == status:
            return self
        if self.status != "open" or (self.overdue(at) and status != "expired"):
            raise TransferClosed(f"it is {self.seen_at(at).status}: the partner may ask again")
        return replace(self, status=status, closed_at=at, version=self.version + 1)

    def seen_at(self, at: datetime) -> Transfer:
        """Return it as a reader sees it: expired from the moment on that it was open until."""
        return replace(self, status="expired", closed_at=self.expires_at) if self.overdue(at) else self


def state_of(transfer: Transfer) -> TransferState:
    """Return the public state that events carry."""
    return TransferState.model_validate({f.name: getattr(transfer, f.name) for f in fields(transfer)})


def changes_between(before: Transfer | None, after: Transfer) -> TransferChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(TransferChanges, before, after)
