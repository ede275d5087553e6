"""All tenants, and how they are used and provisioned, page by page, for the projections of other services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.tenant.models import state_of
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.repository import TenantFilter, TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.usage.models import state_of as usage_state
from services.tenant.usage.repository import UsageRepository
from shared.app import answer, send
from shared.bodies import StrictRoute
from shared.contracts.tenant import ProvisioningState, TenantState, UsageState
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, Page
from shared.policy import from_services
from shared.projections.snapshots import SnapshotView

router = APIRouter(prefix="/internal/snapshots", include_in_schema=False, route_class=StrictRoute)


class Snapshots:
    """What this service owns, as the newest event of each aggregate carries it."""

    def __init__(self, tenants: TenantRepository, usage: UsageRepository, rows: ProvisioningRepository) -> None:
        self._tenants = tenants
        self._usage = usage
        self._rows = rows

    async def tenants(self, limit: int, cursor: str | None) -> Page[TenantState]:
        """Return a page of all tenants by slug, deleted ones too."""
        page = await self._tenants.page(scope=EVERYTHING, only=TenantFilter(), limit=limit, cursor=cursor)
        return Page([state_of(tenant) for tenant in page.items], page.next)

    async def usage(self, limit: int, cursor: str | None) -> Page[UsageState]:
        """Return a page of how tenants are used, by their ids."""
        page = await self._usage.page_across_tenants(limit, cursor)
        return Page([usage_state(usage) for usage in page.items], page.next)

    async def provisioning(self, limit: int, cursor: str | None) -> Page[ProvisioningState]:
        """Return a page of the conditions of tenants, by their ids."""
        page = await self._rows.page_across_tenants(limit, cursor)
        return Page([row.state for row in page.items], page.next)


async def _snapshots(request: Request) -> Snapshots:
    snapshots: Snapshots = request.app.state.deps.snapshots
    return snapshots


Served = Annotated[Snapshots, Depends(_snapshots)]


@router.get("/tenants", dependencies=[Depends(from_services("partner", "billing", "flags"))])
async def tenants(snapshots: Served, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return a page of all tenants."""
    page = await snapshots.tenants(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))


@router.get("/usage", dependencies=[Depends(from_services("partner"))])
async def usage(snapshots: Served, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return a page of how tenants are used."""
    page = await snapshots.usage(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))


@router.get("/provisioning", dependencies=[Depends(from_services("partner"))])
async def provisioning(snapshots: Served, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return a page of the conditions of tenants."""
    page = await snapshots.provisioning(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))
