"""Composition root of the tenant service."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastapi import FastAPI

from services.tenant.authentik import Authentik
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
from services.tenant.repository import INDEXES, PartnerProjection, PriceProjection, TenantRepository
from services.tenant.routes import router
from services.tenant.service import Projections, TenantService
from services.tenant.settings import TenantSettings
from services.tenant.snapshots import Snapshots
from services.tenant.snapshots import router as snapshots
from shared.app import Platform, Task, create_app, serve
from shared.inbox import EventConsumer
from shared.projections import commands
from shared.projections.keeper import Keeper
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
    snapshots: Snapshots


def build(settings: TenantSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    transactions, outbox, clock = platform.mongo.transactions, platform.outbox, platform.clock
    tenants, partners = TenantRepository(platform.mongo), PartnerProjection(platform.mongo)
    events = PartnerEvents(partners)
    consumer = EventConsumer(platform.bus, PARTNERS, platform.mongo, events.handle, clock)
    prices = PriceProjection(platform.mongo)
    catalog = EventConsumer(platform.bus, PRICES, platform.mongo, PriceEvents(prices).handle, clock)
    authentik = _authentik(settings)
    people = wire_people(platform, tenants, partners, authentik)
    provisioning = wire_provisioning(platform, settings, tenants, authentik)
    deps = Deps(
        tenants=TenantService(
            tenants, Projections(partners, prices), provisioning.intents, transactions, outbox, clock
        ),
        directory=people.directory,
        people=people.people,
        invites=people.invites,
        resends=people.resends,
        roles=people.roles,
        snapshots=Snapshots(tenants),
    )

    tasks: list[Task] = [consumer.run, catalog.run]
    if people.worker is not None:
        tasks.append(people.worker.run)
    if provisioning.worker is not None:
        tasks.append(provisioning.worker.run)
    return create_app(
        platform,
        deps,
        [router, people_router, internal, snapshots],
        indexes={**INDEXES, **PEOPLE_INDEXES, **TASK_INDEXES, **PROVISIONING_INDEXES},
        tasks=tasks,
        closing=[provisioning.close, *([authentik.close] if authentik is not None else [])],
        keeper=_keeper(platform, settings, partners, prices),
    )


def _keeper(
    platform: Platform, settings: TenantSettings, partners: PartnerProjection, prices: PriceProjection
) -> Keeper:
    return Keeper(platform, settings, [partners.generations, prices.generations])


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
