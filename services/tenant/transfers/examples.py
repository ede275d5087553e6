"""What clients are told of transfers, beside their signatures; ``tests/test_openapi.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.tenant.models import NoPartner, PartnerNotActive, WrongStatus
from services.tenant.transfers.models import OwnTenant, TooManyTransfers, TransferAlreadyOpen, TransferClosed
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

OPEN: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000008",
    "tenant": "acme",
    "toPartner": "alpine",
    "status": "open",
    "openedAt": "2026-11-22T11:00:00.000Z",
    "expiresAt": "2026-12-22T11:00:00.000Z",
    "closedAt": None,
    "version": 1,
}
_CLOSED = {**OPEN, "closedAt": "2026-11-23T09:30:00.000Z", "version": 2}
_DECIDERS = "An admin of the tenant decides, or an operator; a second time is a no-op."

OPERATIONS: Operations = {
    "open_transfer": Described(
        text="For operators and the partner's own people. The answer is the same whether there is such a tenant or "
        "not: it is no way to find out. Who decides is the tenant's admin or an operator, until `expiresAt`.",
        request={"tenant": "acme"},
        answer=OPEN,
        refusals=(InsufficientRole, PartnerNotActive, OwnTenant, TransferAlreadyOpen, TooManyTransfers),
    ),
    "list_transfers_of_partner": Described(
        text="For operators and the partner's own people, in the order in which they were opened.",
        answer={"items": [OPEN], "next": None},
    ),
    "withdraw_transfer": Described(
        text="For the partner that asked, and for operators.",
        answer={**_CLOSED, "status": "withdrawn"},
        refusals=(InsufficientRole, TransferClosed),
    ),
    "list_transfers_of_tenant": Described(
        text="For the tenant's admins and operators; its present partner is not told who asks.",
        answer={"items": [OPEN], "next": None},
        refusals=(InsufficientRole,),
    ),
    "accept_transfer": Described(
        text=f"{_DECIDERS} The tenant is the new partner's at once: the old one gets 404 from then on, and keeps "
        "the log of its own time. Nothing changes for the tenant's people.",
        answer={**_CLOSED, "status": "accepted"},
        refusals=(InsufficientRole, TransferClosed, PartnerNotActive, NoPartner, WrongStatus),
    ),
    "refuse_transfer": Described(
        text=_DECIDERS, answer={**_CLOSED, "status": "refused"}, refusals=(InsufficientRole, TransferClosed)
    ),
}
