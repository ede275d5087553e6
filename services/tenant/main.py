"""Composition root of the tenant service."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta

from fastapi import FastAPI

from services.tenant.authentik import Authentik
from services.tenant.completion import Completion
from services.tenant.consumers import FORGOTTEN, PARTNERS, PRICES, ForgottenEvents, PartnerEvents, PriceEvents
from services.tenant.deletions import Deletions
from services.tenant.examples import OPERATIONS
from services.tenant.measures import measures
from services.tenant.ownership import Ownership
from services.tenant.people.directory import Directory
from services.tenant.people.erasure.erasures import Erasures
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.report.routes import router as erasure_router
from services.tenant.people.erasure.report.service import ErasureReports
from services.tenant.people.erasure.repository import INDEXES as ERASURE_INDEXES
from services.tenant.people.invites import Invites
from services.tenant.people.repository import INDEXES as PEOPLE_INDEXES
from services.tenant.people.resends import Resends
from services.tenant.people.roles import Roles
from services.tenant.people.routes import internal
from services.tenant.people.routes import router as people_router
from services.tenant.people.service import PeopleService
from services.tenant.people.tasks.repository import INDEXES as TASK_INDEXES
from services.tenant.people.wiring import People, wire_people
from services.tenant.projections.repository import PartnerProjection, PriceProjection
from services.tenant.provisioning.certificates.routes import router as certificate_router
from services.tenant.provisioning.certificates.service import Certificates
from services.tenant.provisioning.drift.routes import router as drift_router
from services.tenant.provisioning.drift.service import DriftService
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.provisioning.wiring import INDEXES as PROVISIONING_INDEXES
from services.tenant.provisioning.wiring import Provisioning, wire_provisioning
from services.tenant.repository import INDEXES, PartnerMoves, TenantRepository
from services.tenant.routes import router
from services.tenant.service import TenantService
from services.tenant.settings import TenantSettings
from services.tenant.snapshots import Snapshots
from services.tenant.snapshots import router as snapshots
from services.tenant.terminations import Mover, PartnerBooks, PartnerEnds
from services.tenant.transfers.repository import INDEXES as TRANSFER_INDEXES
from services.tenant.transfers.routes import router as transfers_router
from services.tenant.transfers.service import Transfers
from services.tenant.usage.repository import INDEXES as USAGE_INDEXES
from services.tenant.usage.repository import UsageRepository
from services.tenant.wiring import Lifecycle, wire_lifecycle
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer, Handler
from shared.mongo import Mongo
from shared.projections import commands
from shared.projections.keeper import Keeper
from shared.settings import load
from shared.workers import Task

NAME = "tenant"
ALL_INDEXES = {
    **INDEXES,
    **TRANSFER_INDEXES,
    **PEOPLE_INDEXES,
    **TASK_INDEXES,
    **ERASURE_INDEXES,
    **PROVISIONING_INDEXES,
    **USAGE_INDEXES,
}


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    tenants: TenantService
    deletions: Deletions
    ownership: Ownership
    transfers: Transfers
    directory: Directory
    people: PeopleService
    invites: Invites
    resends: Resends
    roles: Roles
    erasures: Erasures
    erasure_reports: ErasureReports
    drift: DriftService
    certificates: Certificates
    snapshots: Snapshots


def build(settings: TenantSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    tenants, partners = TenantRepository(platform.mongo), PartnerProjection(platform.mongo)
    prices = PriceProjection(platform.mongo)
    authentik = _authentik(settings)
    people = wire_people(platform, tenants, partners, authentik, timedelta(days=settings.invite_days))
    provisioning = wire_provisioning(platform, settings, tenants, authentik, people.departures)
    lifecycle = wire_lifecycle(platform, settings, tenants, partners, prices, provisioning.intents)
    books = PartnerBooks(tenants, partners, PartnerMoves(platform.mongo))
    ends = PartnerEnds(books, provisioning.intents, platform.mongo.transactions, platform.outbox, platform.clock)
    return create_app(
        platform,
        _deps(lifecycle, people, provisioning, _snapshots(platform.mongo, tenants)),
        [
            router,
            transfers_router,
            drift_router,
            certificate_router,
            people_router,
            erasure_router,
            internal,
            snapshots,
        ],
        indexes=ALL_INDEXES,
        tasks=[
            *_listening(platform, PartnerEvents(partners, ends), PriceEvents(prices)),
            Mover(ends, platform.lease("partner-moves")).run,
            lifecycle.expiry.run,
            *people.workers,
            provisioning.worker.run,
            Completion(tenants).run,
        ],
        operations=OPERATIONS,
        closing=[provisioning.close, *([authentik.close] if authentik is not None else [])],
        keeper=_keeper(platform, settings, partners, prices),
        measures=measures(platform.mongo, platform.clock),
    )


def _deps(lifecycle: Lifecycle, people: People, provisioning: Provisioning, snapshots: Snapshots) -> Deps:
    return Deps(
        tenants=lifecycle.tenants,
        deletions=lifecycle.deletions,
        ownership=lifecycle.ownership,
        transfers=lifecycle.transfers,
        directory=people.directory,
        people=people.people,
        invites=people.invites,
        resends=people.resends,
        roles=people.roles,
        erasures=people.erasures,
        erasure_reports=people.erasure_reports,
        drift=provisioning.drift,
        certificates=provisioning.certificates,
        snapshots=snapshots,
    )


def _snapshots(mongo: Mongo, tenants: TenantRepository) -> Snapshots:
    return Snapshots(tenants, UsageRepository(mongo), ProvisioningRepository(mongo))


def _keeper(
    platform: Platform, settings: TenantSettings, partners: PartnerProjection, prices: PriceProjection
) -> Keeper:
    return Keeper(platform, settings, [partners.generations, prices.generations])


def _listening(platform: Platform, partners: PartnerEvents, prices: PriceEvents) -> list[Task]:
    forgotten = ForgottenEvents(ErasureBook(platform.mongo))
    heard: dict[str, Handler] = {PARTNERS: partners.handle, PRICES: prices.handle, FORGOTTEN: forgotten.handle}
    return [
        EventConsumer(platform.bus, consumer, platform.mongo, handler, platform.clock).run
        for consumer, handler in heard.items()
    ]


def _authentik(settings: TenantSettings) -> Authentik | None:
    if settings.authentik_url is None or settings.authentik_token is None:
        return None
    return Authentik(settings.authentik_url, settings.authentik_token.get_secret_value())


def main() -> None:
    """Run from environment variables; with words, rebuild or compare projections instead of serving."""
    settings = load(TenantSettings)
    if words := sys.argv[1:]:
        platform = Platform.build(NAME, settings)
        partners, prices = PartnerProjection(platform.mongo), PriceProjection(platform.mongo)
        sys.exit(commands.run(words, _keeper(platform, settings, partners, prices)))
    serve(build(settings), settings, NAME)
