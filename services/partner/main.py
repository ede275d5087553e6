"""Composition root of the partner service."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastapi import FastAPI

from services.partner.consumers import CONSUMER, CustomerProjection
from services.partner.repository import INDEXES, CustomerRepository, PartnerRepository
from services.partner.routes import internal, router
from services.partner.service import PartnerService
from services.partner.settings import PartnerSettings
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer
from shared.projections import commands
from shared.projections.keeper import Keeper
from shared.settings import load

NAME = "partner"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    partners: PartnerService


def build(settings: PartnerSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    mongo = platform.mongo
    customers = CustomerRepository(mongo)
    deps = Deps(
        partners=PartnerService(
            PartnerRepository(mongo), customers, mongo.transactions, platform.outbox, platform.clock
        )
    )
    projection = CustomerProjection(customers)

    async def hear_of_tenants() -> None:
        # Made anew at each start of the worker: what it pulled with may not outlive it.
        await EventConsumer(platform.bus, CONSUMER, mongo, projection.handle, platform.clock).run()

    keeper = _keeper(platform, settings, customers)
    return create_app(platform, deps, [router, internal], indexes=INDEXES, tasks=[hear_of_tenants], keeper=keeper)


def _keeper(platform: Platform, settings: PartnerSettings, customers: CustomerRepository) -> Keeper:
    return Keeper(platform, settings, [customers.generations])


def main() -> None:
    """Run from environment variables; with words, rebuild or compare projections instead of serving."""
    settings = load(PartnerSettings)
    if words := sys.argv[1:]:
        platform = Platform.build(NAME, settings)
        sys.exit(commands.run(words, _keeper(platform, settings, CustomerRepository(platform.mongo))))
    serve(build(settings), settings, NAME)
