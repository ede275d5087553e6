"""Composition root of the tenant service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import FastAPI

from services.tenant.consumers import PARTNERS, PartnerEvents
from services.tenant.people.directory import Directory
from services.tenant.people.repository import INDEXES as PEOPLE_INDEXES
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.routes import internal
from services.tenant.people.seed import SeedPeople
from services.tenant.repository import INDEXES, PartnerProjection, TenantRepository
from services.tenant.routes import router
from services.tenant.service import TenantService
from services.tenant.settings import TenantSettings
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer
from shared.settings import load

NAME = "tenant"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    tenants: TenantService
    directory: Directory


def build(settings: TenantSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    transactions, outbox, clock = platform.mongo.transactions, platform.outbox, platform.clock
    people = PeopleRepository(platform.mongo)
    partners = PartnerProjection(platform.mongo)
    events = PartnerEvents(partners)
    consumer = EventConsumer(platform.bus, PARTNERS, platform.mongo, events.handle, clock)
    deps = Deps(
        tenants=TenantService(TenantRepository(platform.mongo), partners, transactions, outbox, clock),
        directory=Directory(people, transactions, outbox, clock),
    )
    seed = SeedPeople(people, transactions, outbox, clock)

    async def seed_people() -> None:
        if settings.seed_file is not None:
            await seed.run(settings.seed_file)
        await asyncio.Event().wait()

    return create_app(
        platform, deps, [router, internal], indexes={**INDEXES, **PEOPLE_INDEXES}, tasks=[seed_people, consumer.run]
    )


def main() -> None:
    """Run from environment variables."""
    settings = load(TenantSettings)
    serve(build(settings), settings, NAME)
