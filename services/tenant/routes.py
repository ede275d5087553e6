"""Routes of tenants."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.tenant.repository import TenantFilter
from services.tenant.schemas import (
    CreateTenant,
    SuspendTenant,
    TenantList,
    TenantSummary,
    TenantView,
    UpdateTenant,
    full_view,
    view_of,
)
from services.tenant.service import Seen, TenantService
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.contracts.tenant import TenantStatus
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import AnyPerson, Operator, PartnerPerson

router = APIRouter(prefix="/api", tags=["tenants"], route_class=StrictRoute)


async def _service(request: Request) -> TenantService:
    service: TenantService = request.app.state.deps.tenants
    return service


Tenants = Annotated[TenantService, Depends(_service)]


def _created(seen: Seen) -> Answer:
    tenant = seen.tenant
    return answer(full_view(seen), 201, version=tenant.version, location=f"/api/tenants/{tenant.slug}")


def _current(seen: Seen) -> Answer:
    return answer(full_view(seen), version=seen.tenant.version)


def _accepted(seen: Seen) -> Answer:
    return answer(full_view(seen), 202, version=seen.tenant.version)


@router.post("/tenants", status_code=201, response_model=TenantView)
async def create_tenant(body: CreateTenant, caller: PartnerPerson, tenants: Tenants, claim: Claimed) -> Response:
    """Create a tenant of the caller's partner."""
    return send(_created(await tenants.create(caller, body.to_command(), claim.answering(_created))))


@router.get("/tenants", response_model=TenantList)
async def list_tenants(
    request: Request,
    caller: AnyPerson,
    tenants: Tenants,
    status: TenantStatus | None = None,
    plan: Annotated[str | None, Query(max_length=40)] = None,
    partner: Annotated[str | None, Query(max_length=40)] = None,
    q: Annotated[str | None, Query(max_length=100, description="Prefix of any word of name or slug.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the tenants that the caller may see, by slug."""
    only = TenantFilter(status=status, plan=plan, partner=partner, q=q)
    page = await tenants.page(caller, only, limit, cursor)
    items = [view_of(seen, caller) for seen in page.items]
    reply = answer({"items": items, "next": page.next, "counts": await tenants.counts(caller)})
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.get("/tenants/{slug}", response_model=TenantView | TenantSummary)
async def read_tenant(slug: str, caller: AnyPerson, tenants: Tenants) -> Response:
    """Read one tenant."""
    seen = await tenants.read(caller, slug)
    return send(answer(view_of(seen, caller), version=seen.tenant.version))


@router.patch("/tenants/{slug}", response_model=TenantView)
async def update_tenant(
    slug: str, body: UpdateTenant, caller: AnyPerson, tenants: Tenants, expected: ExpectedVersion
) -> Response:
    """Change name, domains, billing contact, seats, plan or cycle."""
    return send(_current(await tenants.update(caller, slug, body.to_changes(), expected)))


@router.post("/tenants/{slug}/suspend", response_model=TenantView)
async def suspend_tenant(
    slug: str, body: SuspendTenant, caller: Operator, tenants: Tenants, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Suspend a tenant: its people can no longer use the suite; mail keeps arriving."""
    seen = await tenants.suspend(caller, slug, body.reason, expected, claim.answering(_current))
    return send(_current(seen))


@router.post("/tenants/{slug}/resume", response_model=TenantView)
async def resume_tenant(
    slug: str, caller: Operator, tenants: Tenants, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Resume a suspended tenant."""
    return send(_current(await tenants.resume(caller, slug, expected, claim.answering(_current))))


@router.post("/tenants/{slug}/reconcile", status_code=202, response_model=TenantView)
async def reconcile_tenant(slug: str, caller: Operator, tenants: Tenants, claim: Claimed) -> Response:
    """Compare a tenant with every integration now; the answer does not wait for it."""
    return send(_accepted(await tenants.reconcile(caller, slug, claim.answering(_accepted))))
