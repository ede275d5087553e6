"""Composition root of the partner service."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastapi import FastAPI

from services.partner.consumers import SUBSCRIPTIONS, TENANTS, SubscriptionEvents, TenantEvents
from services.partner.customers.repository import (
    CustomerRepository,
    ProvisioningRepository,
    SubscriptionRepository,
    UsageRepository,
)
from services.partner.examples import OPERATIONS
from services.partner.reports.routes import router as reports_router
from services.partner.reports.saved.repository import INDEXES as SAVED_INDEXES
from services.partner.reports.saved.repository import Figures, SavedReportRepository
from services.partner.reports.saved.service import SavedReportService, Shelf
from services.partner.reports.service import ReportService
from services.partner.repository import INDEXES, AttemptRepository, PartnerRepository
from services.partner.routes import internal, router
from services.partner.service import PartnerService
from services.partner.settings import PartnerSettings
from services.partner.standings.repository import INDEXES as STANDING_INDEXES
from services.partner.standings.repository import StandingRepository
from services.partner.standings.service import Projections, Standings
from services.partner.terminations import Books, Terminations
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer, Handler
from shared.mongo import Mongo
from shared.projections import commands
from shared.projections.derived import Derivation
from shared.projections.keeper import Keeper
from shared.settings import load
from shared.workers import Task

NAME = "partner"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    partners: PartnerService
    terminations: Terminations
    reports: ReportService
    saved: SavedReportService


def build(settings: PartnerSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    mongo, transactions, outbox, clock = (platform.mongo, platform.mongo.transactions, platform.outbox, platform.clock)
    partners, customers = PartnerRepository(mongo), CustomerRepository(mongo)
    books = Books(partners, AttemptRepository(mongo), customers)
    standings = StandingRepository(mongo)
    shelf = Shelf(partners, SavedReportRepository(mongo), standings, Figures(standings))
    deps = Deps(
        partners=PartnerService(partners, customers, transactions, outbox, clock),
        terminations=Terminations(books, transactions, outbox, clock, settings.termination_wait_seconds),
        reports=ReportService(partners, standings, clock),
        saved=SavedReportService(shelf, transactions, outbox, clock),
    )
    projections = projections_of(mongo, customers)
    kept = Standings(projections, standings, clock)
    return create_app(
        platform,
        deps,
        [router, reports_router, internal],
        operations=OPERATIONS,
        indexes={**INDEXES, **STANDING_INDEXES, **SAVED_INDEXES},
        tasks=[
            _hearing(platform, TENANTS, TenantEvents(projections, kept, deps.terminations).handle),
            _hearing(platform, SUBSCRIPTIONS, SubscriptionEvents(projections, kept).handle),
        ],
        keeper=keeper_of(platform, settings, projections, kept),
    )


def projections_of(mongo: Mongo, customers: CustomerRepository) -> Projections:
    """Return the projections over ``mongo``."""
    return Projections(customers, UsageRepository(mongo), ProvisioningRepository(mongo), SubscriptionRepository(mongo))


def keeper_of(platform: Platform, settings: PartnerSettings, projections: Projections, kept: Standings) -> Keeper:
    """Return what keeps the projections, and the standings that are made of them."""
    return Keeper(platform, settings, projections.generations, [derivation_of(projections, kept)])


def derivation_of(projections: Projections, kept: Standings) -> Derivation:
    """Return how standings are made of projections."""
    return Derivation("standings", projections.generations, kept.ids, kept.mark, kept.remake)


def _hearing(platform: Platform, consumer: str, handler: Handler) -> Task:
    async def hear() -> None:
        # Made anew at each start of the worker: what it pulled with may not outlive it.
        await EventConsumer(platform.bus, consumer, platform.mongo, handler, platform.clock).run()

    return hear


def main() -> None:
    """Run from environment variables; with words, rebuild or compare projections instead of serving."""
    settings = load(PartnerSettings)
    if words := sys.argv[1:]:
        platform = Platform.build(NAME, settings)
        projections = projections_of(platform.mongo, CustomerRepository(platform.mongo))
        kept = Standings(projections, StandingRepository(platform.mongo), platform.clock)
        sys.exit(commands.run(words, keeper_of(platform, settings, projections, kept)))
    serve(build(settings), settings, NAME)
