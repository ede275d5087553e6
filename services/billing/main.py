"""Composition root of the billing service."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastapi import FastAPI

from services.billing.catalog import CatalogService
from services.billing.consumers import TENANTS, TenantEvents
from services.billing.examples import OPERATIONS
from services.billing.measures import measures
from services.billing.mrr import RevenueService
from services.billing.repository import INDEXES, PriceRepository, SubscriptionRepository
from services.billing.routes import router
from services.billing.settings import BillingSettings
from services.billing.snapshots import Snapshots
from services.billing.snapshots import router as snapshots
from services.billing.subscriptions import Repricer, SubscriptionService
from shared.app import Platform, create_app, serve
from shared.contracts.tenant import TenantState
from shared.inbox import EventConsumer
from shared.projections import commands
from shared.projections.catch_up import CatchUp
from shared.projections.keeper import Keeper
from shared.settings import load

NAME = "billing"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    catalog: CatalogService
    revenue: RevenueService
    snapshots: Snapshots


def build(settings: BillingSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    mongo, transactions, outbox, clock = (platform.mongo, platform.mongo.transactions, platform.outbox, platform.clock)
    prices, subscriptions = PriceRepository(mongo), SubscriptionRepository(mongo)
    service = SubscriptionService(prices, subscriptions, transactions, outbox, clock)
    consumer = EventConsumer(platform.bus, TENANTS, mongo, TenantEvents(service).handle, clock)
    repricer = Repricer(prices, subscriptions, service, platform.lease("repricer"))
    deps = Deps(
        catalog=CatalogService(prices, subscriptions, transactions, outbox, clock),
        revenue=RevenueService(subscriptions),
        snapshots=Snapshots(prices, subscriptions),
    )
    return create_app(
        platform,
        deps,
        [router, snapshots],
        operations=OPERATIONS,
        indexes=INDEXES,
        tasks=[consumer.run, repricer.run],
        keeper=_keeper(platform, settings, service),
        measures=measures(prices, subscriptions),
    )


def _keeper(platform: Platform, settings: BillingSettings, service: SubscriptionService) -> Keeper:
    # Subscriptions have a history of their own: they are caught up, and no projection that could be built anew.
    return Keeper(
        platform, settings, [], [CatchUp("subscriptions", "tenant", "tenants", TenantState, service.catch_up)]
    )


def main() -> None:
    """Run from environment variables; with words, catch up subscriptions instead of serving."""
    settings = load(BillingSettings)
    if words := sys.argv[1:]:
        platform = Platform.build(NAME, settings)
        prices, subscriptions = PriceRepository(platform.mongo), SubscriptionRepository(platform.mongo)
        service = SubscriptionService(
            prices, subscriptions, platform.mongo.transactions, platform.outbox, platform.clock
        )
        sys.exit(commands.run(words, _keeper(platform, settings, service)))
    serve(build(settings), settings, NAME)
