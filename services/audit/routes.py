"""Routes of the audit service."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from services.audit.schemas import EntryPage, LogFilters, PartnerFilters, ScopedFilters, VerdictView
from services.audit.service import AuditService, Place
from shared.bodies import StrictRoute
from shared.paging import Page, link_to
from shared.policy import AnyPerson, Operator

router = APIRouter(prefix="/api", tags=["audit"], route_class=StrictRoute)


async def _audit(request: Request) -> AuditService:
    service: AuditService = request.app.state.deps.audit
    return service


Audit = Annotated[AuditService, Depends(_audit)]


def _send(request: Request, page: Page[dict[str, Any]]) -> Response:
    body = orjson.dumps({"items": page.items, "next": page.next})
    return Response(body, headers=link_to(str(request.url), page.next), media_type="application/json")


@router.get("/audit", response_model=EntryPage)
async def list_entries(
    request: Request, _caller: Operator, audit: Audit, filters: Annotated[LogFilters, Query()]
) -> Response:
    """List the whole log, newest first."""
    place = Place(filters.cursor, filters.limit)
    return _send(request, await audit.list_across_tenants(filters.query(), filters.actor_email, place))


@router.get("/audit/verify", response_model=VerdictView)
async def verify(_caller: Operator, audit: Audit) -> Response:
    """Verify the whole chain and name the first place where it does not hold."""
    verdict, findings = await audit.verify()
    view = VerdictView.of(verdict, findings, await audit.archived_up_to())
    return Response(view.rendered(), media_type="application/json")


@router.get("/tenants/{slug}/audit", response_model=EntryPage)
async def list_tenant_entries(
    request: Request, slug: str, caller: AnyPerson, audit: Audit, filters: Annotated[ScopedFilters, Query()]
) -> Response:
    """List a tenant's log, newest first."""
    place = Place(filters.cursor, filters.limit)
    return _send(request, await audit.list_of_tenant(slug, caller, filters.query(), place))


@router.get("/partners/{slug}/audit", response_model=EntryPage)
async def list_partner_entries(
    request: Request, slug: str, caller: AnyPerson, audit: Audit, filters: Annotated[PartnerFilters, Query()]
) -> Response:
    """List the log of a partner and its customers, newest first."""
    place = Place(filters.cursor, filters.limit)
    return _send(request, await audit.list_of_partner(slug, caller, filters.query(), place))
