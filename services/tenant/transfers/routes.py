"""Routes of transfers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.tenant.transfers.models import Transfer
from services.tenant.transfers.schemas import OpenTransfer, TransferList, TransferView, transfer_view
from services.tenant.transfers.service import Transfers
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.contracts.tenant import TransferStatus
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, Page, link_to
from shared.policy import AnyPerson

router = APIRouter(prefix="/api", tags=["transfers"], route_class=StrictRoute)


async def _transfers(request: Request) -> Transfers:
    transfers: Transfers = request.app.state.deps.transfers
    return transfers


Calls = Annotated[Transfers, Depends(_transfers)]
StatusFilter = Annotated[TransferStatus | None, Query(description="As it was last written: `open` may be over.")]


def _opened(transfer: Transfer) -> Answer:
    return answer(transfer_view(transfer), 201, version=transfer.version)


def _current(transfer: Transfer) -> Answer:
    return answer(transfer_view(transfer), version=transfer.version)


def _listed(request: Request, page: Page[Transfer]) -> Response:
    reply = answer(TransferList(items=[transfer_view(transfer) for transfer in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.post("/partners/{slug}/transfers", status_code=201, response_model=TransferView)
async def open_transfer(slug: str, body: OpenTransfer, caller: AnyPerson, calls: Calls, claim: Claimed) -> Response:
    """Ask to take over a tenant; the answer is the same whether there is such a tenant or not."""
    return send(_opened(await calls.open(caller, slug, body.tenant, claim.answering(_opened))))


@router.get("/partners/{slug}/transfers", response_model=TransferList)
async def list_transfers_of_partner(
    request: Request,
    slug: str,
    caller: AnyPerson,
    calls: Calls,
    status: StatusFilter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List what a partner has asked for."""
    return _listed(request, await calls.page_of_partner(caller, slug, status, limit, cursor))


@router.delete("/partners/{slug}/transfers/{transfer}", response_model=TransferView)
async def withdraw_transfer(
    slug: str, transfer: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion
) -> Response:
    """Take a request back."""
    return send(_current(await calls.withdraw(caller, slug, transfer, expected)))


@router.get("/tenants/{slug}/transfers", response_model=TransferList)
async def list_transfers_of_tenant(
    request: Request,
    slug: str,
    caller: AnyPerson,
    calls: Calls,
    status: StatusFilter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List who has asked for a tenant."""
    return _listed(request, await calls.page_of_tenant(caller, slug, status, limit, cursor))


@router.post("/tenants/{slug}/transfers/{transfer}/accept", response_model=TransferView)
async def accept_transfer(
    slug: str, transfer: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Let a tenant pass to the partner that asked for it."""
    return send(_current(await calls.accept(caller, slug, transfer, expected, claim.answering(_current))))


@router.post("/tenants/{slug}/transfers/{transfer}/refuse", response_model=TransferView)
async def refuse_transfer(
    slug: str, transfer: str, caller: AnyPerson, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Refuse a request."""
    return send(_current(await calls.refuse(caller, slug, transfer, expected, claim.answering(_current))))
