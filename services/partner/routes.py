"""Routes of partners."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from services.partner.models import Overview, state_of
from services.partner.policy import Reader, Writer
from services.partner.repository import PartnerFilter
from services.partner.schemas import (
    ChangePartner,
    CreatePartner,
    PartnerList,
    PartnerView,
    SuspendPartner,
    TerminatePartner,
    view_of,
)
from services.partner.service import PartnerService
from services.partner.terminations import Ending, Terminations
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.contracts.partner import PartnerStatus
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import from_services
from shared.projections.snapshots import SnapshotView
from shared.schemas import ProblemView

router = APIRouter(prefix="/api", tags=["partners"], route_class=StrictRoute)
internal = APIRouter(prefix="/internal", include_in_schema=False, route_class=StrictRoute)


async def _service(request: Request) -> PartnerService:
    service: PartnerService = request.app.state.deps.partners
    return service


async def _terminations(request: Request) -> Terminations:
    terminations: Terminations = request.app.state.deps.terminations
    return terminations


Partners = Annotated[PartnerService, Depends(_service)]
Ends = Annotated[Terminations, Depends(_terminations)]


def _created(seen: Overview) -> Answer:
    location = f"/api/partners/{seen.partner.slug}"
    return answer(view_of(seen), 201, version=seen.partner.version, location=location)


def _current(seen: Overview) -> Answer:
    return answer(view_of(seen), version=seen.partner.version)


def _ended(ending: Ending) -> Answer:
    reply = answer(view_of(ending.seen), 200 if ending.over else 202, version=ending.seen.partner.version)
    if ending.replayed:
        reply.headers["idempotency-replayed"] = "true"
    return reply


_ENDINGS: dict[int | str, dict[str, Any]] = {
    202: {"description": "The tenant service has not answered yet", "model": PartnerView},
    409: {"description": "The partner has customers", "model": ProblemView},
}


@router.post("/partners", status_code=201, response_model=PartnerView)
async def create_partner(body: CreatePartner, caller: Writer, partners: Partners, claim: Claimed) -> Response:
    """Create a partner."""
    return send(_created(await partners.create(caller, body.to_command(), claim.answering(_created))))


@router.get("/partners", response_model=PartnerList)
async def list_partners(
    request: Request,
    caller: Reader,
    partners: Partners,
    status: PartnerStatus | None = None,
    q: Annotated[str | None, Query(max_length=100, description="Prefixes of words of name or slug.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the partners that the caller may see, by slug."""
    page = await partners.page(caller, PartnerFilter(status=status, q=q), limit, cursor)
    reply = answer(PartnerList(items=[view_of(seen) for seen in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.get("/partners/{slug}", response_model=PartnerView)
async def read_partner(slug: str, caller: Reader, partners: Partners) -> Response:
    """Read one partner."""
    return send(_current(await partners.read(caller, slug)))


@router.patch("/partners/{slug}", response_model=PartnerView)
async def change_partner(
    slug: str, body: ChangePartner, caller: Writer, partners: Partners, expected: ExpectedVersion
) -> Response:
    """Change a partner: name, domain, contact, and margins from today on."""
    return send(_current(await partners.change(caller, slug, body.to_command(), expected)))


@router.post("/partners/{slug}/suspend", response_model=PartnerView)
async def suspend_partner(
    slug: str, body: SuspendPartner, caller: Writer, partners: Partners, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Let a partner take no new customers."""
    claim = claim.answering(_current)
    return send(_current(await partners.suspend(caller, slug, body.reason, expected, claim)))


@router.post("/partners/{slug}/resume", response_model=PartnerView)
async def resume_partner(
    slug: str, caller: Writer, partners: Partners, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Let a suspended partner take customers again."""
    return send(_current(await partners.resume(caller, slug, expected, claim.answering(_current))))


@router.post("/partners/{slug}/terminate", response_model=PartnerView, responses=_ENDINGS)
async def terminate_partner(
    slug: str,
    body: TerminatePartner,
    caller: Writer,
    terminations: Ends,
    expected: ExpectedVersion,
    claim: Claimed,
) -> Response:
    """End a partner that has no customers, or whose customers pass to another one."""
    claim = claim.answering(_current)
    return send(_ended(await terminations.terminate(caller, slug, body.transfer_to, expected, claim)))


@internal.get("/snapshots/partners", dependencies=[Depends(from_services("tenant", "billing"))])
async def snapshot(partners: Partners, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return all partners, page by page, for projections of other services."""
    page = await partners.snapshot(limit, cursor)
    return send(answer(SnapshotView(items=[state_of(partner) for partner in page.items], next=page.next)))
