"""Composition root of the billing service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.billing.catalog import CatalogService
from services.billing.consumers import TENANTS, TenantEvents
from services.billing.examples import OPERATIONS
from services.billing.mrr import RevenueService
from services.billing.repository import INDEXES, PriceRepository, SubscriptionRepository
from services.billing.routes import router
from services.billing.settings import BillingSettings
from services.billing.subscriptions import Repricer, SubscriptionService
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer
from shared.settings import load

NAME = "billing"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    catalog: CatalogService
    revenue: RevenueService


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
    )
    return create_app(
        platform, deps, [router], operations=OPERATIONS, indexes=INDEXES, tasks=[consumer.run, repricer.run]
    )


def main() -> None:
    """Run from environment variables."""
    settings = load(BillingSettings)
    serve(build(settings), settings, NAME)
