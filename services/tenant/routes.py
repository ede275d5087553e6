"""Routes of tenants."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Query, Request, Response

from services.tenant.deletions import Deletions
from services.tenant.ownership import Ownership
from services.tenant.records import Seen
from services.tenant.repository import TenantFilter
from services.tenant.schemas import (
    AttachTenant,
    CreateTenant,
    DeleteTenant,
    DetachTenant,
    SuspendTenant,
    TenantList,
    TenantSummary,
    TenantView,
    UpdateTenant,
    full_view,
    view_of,
)
from services.tenant.scope import Scope
from services.tenant.service import TenantService
from shared.app import Claimed, answer, send
from shared.auth import Person
from shared.bodies import StrictRoute
from shared.contracts.tenant import TenantStatus
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import AnyPerson, Operator, PartnerPerson

router = APIRouter(prefix="/api", tags=["tenants"], route_class=StrictRoute)


class Deps(Protocol):
    """What these routes call."""

    @property
    def tenants(self) -> TenantService: ...
    @property
    def deletions(self) -> Deletions: ...
    @property
    def ownership(self) -> Ownership: ...


async def _deps(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


Calls = Annotated[Deps, Depends(_deps)]
PlanFilter = Annotated[str | None, Query(max_length=40)]
Words = Annotated[str | None, Query(max_length=100, description="Prefix of any word of name or slug.")]


def _created(seen: Seen) -> Answer:
    tenant = seen.tenant
    return answer(full_view(seen), 201, version=tenant.version, location=f"/api/tenants/{tenant.slug}")


def _current(seen: Seen) -> Answer:
    return answer(full_view(seen), version=seen.tenant.version)


def _accepted(seen: Seen) -> Answer:
    return answer(full_view(seen), 202, version=seen.tenant.version)


@router.post("/tenants", status_code=201, response_model=TenantView)
async def create_tenant(body: CreateTenant, caller: PartnerPerson, calls: Calls, claim: Claimed) -> Response:
    """Create a tenant of the caller's partner."""
    return send(_created(await calls.tenants.create(caller, body.to_command(), claim.answering(_created))))


@router.get("/tenants", response_model=TenantList)
async def list_tenants(
    request: Request,
    caller: AnyPerson,
    calls: Calls,
    status: TenantStatus | None = None,
    plan: PlanFilter = None,
    partner: Annotated[str | None, Query(max_length=40)] = None,
    detached: Annotated[bool | None, Query(description="Without a partner, or with one.")] = None,
    q: Words = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the tenants that the caller may see, by slug."""
    only = TenantFilter(status=status, plan=plan, partner=partner, q=q, detached=detached)
    return await _page(request, caller, calls, Scope.of(caller), only, limit, cursor)


@router.get("/partners/{slug}/tenants", response_model=TenantList)
async def list_tenants_of_partner(
    request: Request,
    slug: str,
    caller: AnyPerson,
    calls: Calls,
    status: TenantStatus | None = None,
    plan: PlanFilter = None,
    q: Words = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the customers of a partner, by slug."""
    scope = await calls.tenants.scope_of_partner(caller, slug)
    only = TenantFilter(status=status, plan=plan, partner=slug, q=q)
    return await _page(request, caller, calls, scope, only, limit, cursor)


async def _page(
    request: Request, caller: Person, calls: Deps, scope: Scope, only: TenantFilter, limit: int, cursor: str | None
) -> Response:
    page = await calls.tenants.page(scope, only, limit, cursor)
    items = [view_of(seen, caller) for seen in page.items]
    reply = answer({"items": items, "next": page.next, "counts": await calls.tenants.counts(scope)})
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.get("/tenants/{slug}", response_model=TenantView | TenantSummary)
async def read_tenant(slug: str, caller: AnyPerson, calls: Calls) -> Response:
    """Read one tenant."""
    seen = await calls.tenants.read(caller, slug)
    return send(answer(view_of(seen, caller), version=seen.tenant.version))


@router.patch("/tenants/{slug}", response_model=TenantView)
async def update_tenant(
    slug: str, body: UpdateTenant, caller: AnyPerson, calls: Calls, expected: ExpectedVersion
) -> Response:
    """Change name, domains, billing contact, seats, plan or cycle."""
    return send(_current(await calls.tenants.update(caller, slug, body.to_changes(), expected)))


@router.post("/tenants/{slug}/suspend", response_model=TenantView)
async def suspend_tenant(
    slug: str, body: SuspendTenant, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Suspend a tenant: its people can no longer use the suite; mail keeps arriving."""
    seen = await calls.tenants.suspend(caller, slug, body.reason, expected, claim.answering(_current))
    return send(_current(seen))


@router.post("/tenants/{slug}/resume", response_model=TenantView)
async def resume_tenant(
    slug: str, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Resume a suspended tenant."""
    return send(_current(await calls.tenants.resume(caller, slug, expected, claim.answering(_current))))


@router.post("/tenants/{slug}/reconcile", status_code=202, response_model=TenantView)
async def reconcile_tenant(slug: str, caller: Operator, calls: Calls, claim: Claimed) -> Response:
    """Compare a tenant with every integration now; the answer does not wait for it."""
    return send(_accepted(await calls.tenants.reconcile(caller, slug, claim.answering(_accepted))))


@router.delete("/tenants/{slug}", status_code=202, response_model=TenantView)
async def delete_tenant(
    slug: str,
    caller: Operator,
    calls: Calls,
    expected: ExpectedVersion,
    claim: Claimed,
    body: DeleteTenant | None = None,
) -> Response:
    """Shut a tenant; it can be restored until `deletion.eraseAfter`, then its data is erased everywhere."""
    reason = None if body is None else body.reason
    return send(_accepted(await calls.deletions.delete(caller, slug, reason, expected, claim.answering(_accepted))))


@router.post("/tenants/{slug}/restore", response_model=TenantView)
async def restore_tenant(
    slug: str, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Undo a deletion before the erasure has begun."""
    return send(_current(await calls.deletions.restore(caller, slug, expected, claim.answering(_current))))


@router.put("/tenants/{slug}/partner", response_model=TenantView)
async def attach_tenant(
    slug: str, body: AttachTenant, caller: Operator, calls: Calls, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Give a tenant without a partner to one."""
    seen = await calls.ownership.attach(caller, slug, body.partner, expected, claim.answering(_current))
    return send(_current(seen))


@router.delete("/tenants/{slug}/partner", response_model=TenantView)
async def detach_tenant(
    slug: str,
    caller: Operator,
    calls: Calls,
    expected: ExpectedVersion,
    claim: Claimed,
    body: DetachTenant | None = None,
) -> Response:
    """Take a tenant from its partner; it waits for another one until a date."""
    until = None if body is None else body.until
    return send(_current(await calls.ownership.detach(caller, slug, until, expected, claim.answering(_current))))
