"""Routes of billing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.billing.catalog import CatalogService
from services.billing.models import Price
from services.billing.mrr import RevenueService
from services.billing.policy import PriceReader
from services.billing.schemas import (
    CreatePrice,
    ImpactView,
    PriceList,
    PriceView,
    RevenueSummary,
    TenantSummary,
    UpdatePrice,
    impact_view,
    price_view,
    revenue_summary,
    tenant_summary,
)
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import AnyPerson, Operator

router = APIRouter(prefix="/api", tags=["billing"], route_class=StrictRoute)


async def _catalog(request: Request) -> CatalogService:
    catalog: CatalogService = request.app.state.deps.catalog
    return catalog


async def _revenue(request: Request) -> RevenueService:
    revenue: RevenueService = request.app.state.deps.revenue
    return revenue


Catalog = Annotated[CatalogService, Depends(_catalog)]
RevenueOf = Annotated[RevenueService, Depends(_revenue)]


def _created(price: Price) -> Answer:
    return answer(price_view(price), 201, version=price.version, location=f"/api/prices/{price.id}")


def _current(price: Price) -> Answer:
    return answer(price_view(price), version=price.version)


@router.post("/prices", status_code=201, response_model=PriceView)
async def create_price(body: CreatePrice, caller: Operator, catalog: Catalog, claim: Claimed) -> Response:
    """Give a plan and cycle a price."""
    claim = claim.answering(_created)
    return send(_created(await catalog.create(caller, body.plan, body.cycle, dict(body.amounts), claim)))


@router.get("/prices", response_model=PriceList)
async def list_prices(
    request: Request, _: PriceReader, catalog: Catalog, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None
) -> Response:
    """List the catalog in the order of creation."""
    page = await catalog.page(limit, cursor)
    reply = answer(PriceList(items=[price_view(price) for price in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.get("/prices/{price_id}", response_model=PriceView)
async def read_price(price_id: str, _: PriceReader, catalog: Catalog) -> Response:
    """Read one price."""
    return send(_current(await catalog.read(price_id)))


@router.patch("/prices/{price_id}", response_model=PriceView)
async def update_price(
    price_id: str, body: UpdatePrice, caller: Operator, catalog: Catalog, expected: ExpectedVersion
) -> Response:
    """Change amounts; live subscriptions follow within moments."""
    return send(_current(await catalog.reprice(caller, price_id, dict(body.amounts), expected)))


@router.post("/prices/{price_id}/archive", response_model=PriceView)
async def archive_price(
    price_id: str, caller: Operator, catalog: Catalog, expected: ExpectedVersion, claim: Claimed
) -> Response:
    """Take no new subscriptions on this price."""
    return send(_current(await catalog.archive(caller, price_id, expected, claim.answering(_current))))


@router.get("/prices/{price_id}/impact")
async def price_impact(
    price_id: str,
    _: Operator,
    catalog: Catalog,
    currency: Annotated[str, Query(pattern=r"^[A-Z]{3}$")],
    amount: Annotated[int, Query(ge=0, le=10_000_000_00)],
) -> ImpactView:
    """Say what a new amount would mean for the live subscriptions."""
    return impact_view(currency, amount, await catalog.impact(price_id, currency, amount))


@router.get("/billing/summary")
async def billing_summary(caller: AnyPerson, revenue: RevenueOf) -> RevenueSummary:
    """Say the recurring revenue within the caller's scope."""
    return revenue_summary("partner" if caller.is_operator else "tenant", await revenue.platform(caller))


@router.get("/partners/{slug}/billing/summary")
async def partner_billing_summary(slug: str, caller: AnyPerson, revenue: RevenueOf) -> RevenueSummary:
    """Say a partner's recurring revenue by tenant."""
    return revenue_summary("tenant", await revenue.partner(caller, slug))


@router.get("/tenants/{slug}/billing/summary")
async def tenant_billing_summary(slug: str, caller: AnyPerson, revenue: RevenueOf) -> TenantSummary:
    """Say a tenant's subscription and what it is worth."""
    return tenant_summary(await revenue.tenant(caller, slug))
