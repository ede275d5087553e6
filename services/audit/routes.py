"""Routes of the audit service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.audit.answers import Listing
from services.audit.schemas import EntryPage, LogFilters, PartnerFilters, ScopedFilters
from services.audit.service import AuditService
from shared.bodies import StrictRoute
from shared.policy import AnyPerson, Operator

router = APIRouter(prefix="/api", tags=["audit"], route_class=StrictRoute)


async def _audit(request: Request) -> AuditService:
    service: AuditService = request.app.state.deps.audit
    return service


Audit = Annotated[AuditService, Depends(_audit)]


@router.get("/audit", response_model=EntryPage)
async def list_entries(_caller: Operator, lists: Listing, filters: Annotated[LogFilters, Query()]) -> Response:
    """List the whole log, newest first."""
    return await lists.send(filters, filters.query(), filters.actor_email)


@router.get("/tenants/{slug}/audit", response_model=EntryPage)
async def list_tenant_entries(
    slug: str, caller: AnyPerson, audit: Audit, lists: Listing, filters: Annotated[ScopedFilters, Query()]
) -> Response:
    """List a tenant's log, newest first."""
    return await lists.send(filters, await audit.within_tenant(slug, caller, filters.query()))


@router.get("/partners/{slug}/audit", response_model=EntryPage)
async def list_partner_entries(
    slug: str, caller: AnyPerson, audit: Audit, lists: Listing, filters: Annotated[PartnerFilters, Query()]
) -> Response:
    """List the log of a partner and its customers, newest first."""
    return await lists.send(filters, audit.within_partner(slug, caller, filters.query()))
