"""Composition root of the tenant service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.tenant.authentik import Authentik
from services.tenant.completion import Completion
from services.tenant.consumers import PARTNERS, PRICES, PartnerEvents, PriceEvents
from services.tenant.people.directory import Directory
from services.tenant.people.invites import Invites
from services.tenant.people.repository import INDEXES as PEOPLE_INDEXES
from services.tenant.people.resends import Resends
from services.tenant.people.roles import Roles
from services.tenant.people.routes import internal
from services.tenant.people.routes import router as people_router
from services.tenant.people.service import PeopleService
from services.tenant.people.tasks.repository import INDEXES as TASK_INDEXES
from services.tenant.people.wiring import wire_people
from services.tenant.provisioning.repository import INDEXES as PROVISIONING_INDEXES
from services.tenant.provisioning.wiring import wire_provisioning
from services.tenant.repository import INDEXES, PartnerMoves, PartnerProjection, PriceProjection, TenantRepository
from services.tenant.routes import router
from services.tenant.service import Projections, TenantService
from services.tenant.settings import TenantSettings
from services.tenant.terminations import Mover, PartnerBooks, PartnerEnds
from shared.app import Platform, Task, create_app, serve
from shared.inbox import EventConsumer
from shared.settings import load

NAME = "tenant"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    tenants: TenantService
    directory: Directory
    people: PeopleService
    invites: Invites
    resends: Resends
    roles: Roles


def build(settings: TenantSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    transactions, outbox, clock = platform.mongo.transactions, platform.outbox, platform.clock
    tenants, partners = TenantRepository(platform.mongo), PartnerProjection(platform.mongo)
    prices = PriceProjection(platform.mongo)
    catalog = EventConsumer(platform.bus, PRICES, platform.mongo, PriceEvents(prices).handle, clock)
    authentik = _authentik(settings)
    people = wire_people(platform, tenants, partners, authentik)
    provisioning = wire_provisioning(platform, settings, tenants, authentik)
    books = PartnerBooks(tenants, partners, PartnerMoves(platform.mongo))
    ends = PartnerEnds(books, provisioning.intents, transactions, outbox, clock)
    events = PartnerEvents(partners, ends)
    consumer = EventConsumer(platform.bus, PARTNERS, platform.mongo, events.handle, clock)
    deps = Deps(
        tenants=TenantService(
            tenants, Projections(partners, prices), provisioning.intents, transactions, outbox, clock
        ),
        directory=people.directory,
        people=people.people,
        invites=people.invites,
        resends=people.resends,
        roles=people.roles,
    )

    tasks: list[Task] = [consumer.run, catalog.run, Mover(ends, platform.lease("partner-moves")).run]
    if people.worker is not None:
        tasks.append(people.worker.run)
    if provisioning.worker is not None:
        tasks.append(provisioning.worker.run)
    tasks.append(Completion(tenants).run)
    return create_app(
        platform,
        deps,
        [router, people_router, internal],
        indexes={**INDEXES, **PEOPLE_INDEXES, **TASK_INDEXES, **PROVISIONING_INDEXES},
        tasks=tasks,
        closing=[provisioning.close, *([authentik.close] if authentik is not None else [])],
    )


def _authentik(settings: TenantSettings) -> Authentik | None:
    if settings.authentik_url is None or settings.authentik_token is None:
        return None
    return Authentik(settings.authentik_url, settings.authentik_token.get_secret_value())


def main() -> None:
    """Run from environment variables."""
    settings = load(TenantSettings)
    serve(build(settings), settings, NAME)
