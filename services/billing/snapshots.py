"""The catalog and all subscriptions, page by page, for the projections of other services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.billing.models import price_state, subscription_state
from services.billing.repository import PriceRepository, SubscriptionRepository
from shared.app import answer, send
from shared.bodies import StrictRoute
from shared.contracts.billing import PriceState, SubscriptionState
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, Page
from shared.policy import from_services
from shared.projections.snapshots import SnapshotView

router = APIRouter(prefix="/internal/snapshots", include_in_schema=False, route_class=StrictRoute)


class Snapshots:
    """What this service owns, as the newest event of each aggregate carries it."""

    def __init__(self, prices: PriceRepository, subscriptions: SubscriptionRepository) -> None:
        self._prices = prices
        self._subscriptions = subscriptions

    async def prices(self, limit: int, cursor: str | None) -> Page[PriceState]:
        """Return a page of the catalog by id, archived prices too."""
        page = await self._prices.page_across_tenants(limit, cursor)
        return Page([price_state(price) for price in page.items], page.next)

    async def subscriptions(self, limit: int, cursor: str | None) -> Page[SubscriptionState]:
        """Return a page of all subscriptions by their tenants' ids, those that have ended too."""
        page = await self._subscriptions.page_across_tenants(limit, cursor)
        return Page([subscription_state(subscription) for subscription in page.items], page.next)


async def _snapshots(request: Request) -> Snapshots:
    snapshots: Snapshots = request.app.state.deps.snapshots
    return snapshots


Served = Annotated[Snapshots, Depends(_snapshots)]


@router.get("/prices", dependencies=[Depends(from_services("tenant"))])
async def prices(snapshots: Served, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return a page of the catalog."""
    page = await snapshots.prices(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))


@router.get("/subscriptions", dependencies=[Depends(from_services("partner"))])
async def subscriptions(snapshots: Served, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None) -> Response:
    """Return a page of all subscriptions."""
    page = await snapshots.subscriptions(limit, cursor)
    return send(answer(SnapshotView(items=list(page.items), next=page.next)))
