"""Composition root of the partner service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from services.partner.consumers import CONSUMER, CustomerProjection
from services.partner.examples import OPERATIONS
from services.partner.repository import INDEXES, CustomerRepository, PartnerRepository
from services.partner.routes import internal, router
from services.partner.service import PartnerService
from services.partner.settings import PartnerSettings
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer
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

    return create_app(
        platform, deps, [router, internal], operations=OPERATIONS, indexes=INDEXES, tasks=[hear_of_tenants]
    )


def main() -> None:
    """Run from environment variables."""
    settings = load(PartnerSettings)
    serve(build(settings), settings, NAME)
