"""All tenants, page by page, for the projections of other services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.tenant.models import state_of
from services.tenant.repository import TenantFilter, TenantRepository
from services.tenant.scope import EVERYTHING
from shared.app import answer, send
from shared.bodies import StrictRoute
from shared.contracts.tenant import TenantState
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, Page
from shared.policy import from_services
from shared.projections.snapshots import SnapshotView

router = APIRouter(prefix="/internal/snapshots", include_in_schema=False, route_class=StrictRoute)


class Snapshots:
    """What this service owns, as the newest event of each aggregate carries it."""

    def __init__(self, tenants: TenantRepository) -> None:
        self._tenants = tenants

    async def tenants(self, limit: int, cursor: str | None) -> Page[TenantState]:
        """Return a page of all tenants by slug, deleted ones too."""
        page = await self._tenants.page(scope=EVERYTHING, only=TenantFilter(), limit=limit, cursor=cursor)
        return Page([state_of(tenant) for tenant in page.items], page.next)


async def _snapshots(request: Request) -> Snapshots:
    snapshots: Snapshots = request.app.state.deps.snapshots
    return snapshots


@router.get("/tenants", dependencies=[Depends(from_services("partner", "billing", "flags"))])
async def tenants(
    snapshots: Annotated[Snapshots, Depends(_snapshots)], limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None
) -> Response:
    """Return a page of all tenants."""
    page = await snapshots.tenants(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))
