"""Routes of partners."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.partner.models import Overview, state_of
from services.partner.policy import Reader, Writer
from services.partner.repository import PartnerFilter
from services.partner.schemas import (
    ChangePartner,
    CreatePartner,
    PartnerList,
    PartnerView,
    view_of,
)
from services.partner.service import PartnerService
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.contracts.partner import PartnerStatus
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import from_services
from shared.projections.snapshots import SnapshotView

router = APIRouter(prefix="/api", tags=["partners"], route_class=StrictRoute)
internal = APIRouter(prefix="/internal", include_in_schema=False, route_class=StrictRoute)


async def _service(request: Request) -> PartnerService:
    service: PartnerService = request.app.state.deps.partners
    return service


Partners = Annotated[PartnerService, Depends(_service)]


def _created(seen: Overview) -> Answer:
    location = f"/api/partners/{seen.partner.slug}"
    return answer(view_of(seen), 201, version=seen.partner.version, location=location)


def _current(seen: Overview) -> Answer:
    return answer(view_of(seen), version=seen.partner.version)


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


@internal.get("/snapshots/partners", dependencies=[Depends(from_services("tenant", "billing"))])
async def snapshot(partners: Partners, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return all partners, page by page, for projections of other services."""
    page = await partners.snapshot(limit, cursor)
    return send(answer(SnapshotView(items=[state_of(partner) for partner in page.items], next=page.next)))
