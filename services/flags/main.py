"""Composition root of the flags service."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from fastapi import FastAPI

from services.flags.consumers import TENANTS, TenantEvents
from services.flags.examples import OPERATIONS
from services.flags.repository import INDEXES, FlagRepository, TenantProjection
from services.flags.routes import router
from services.flags.service import FlagService
from services.flags.settings import FlagsSettings
from shared.app import Platform, create_app, serve
from shared.inbox import EventConsumer
from shared.projections import commands
from shared.projections.keeper import Keeper
from shared.settings import load

NAME = "flags"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    flags: FlagService


def build(settings: FlagsSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    mongo, clock = platform.mongo, platform.clock
    tenants = TenantProjection(mongo)
    service = FlagService(
        FlagRepository(mongo), tenants, mongo.transactions, platform.outbox, clock, settings.environment
    )
    consumer = EventConsumer(platform.bus, TENANTS, mongo, TenantEvents(tenants).handle, clock)

    async def seed() -> None:
        await service.seed()
        await asyncio.Event().wait()

    return create_app(
        platform,
        Deps(service),
        [router],
        operations=OPERATIONS,
        indexes=INDEXES,
        tasks=[seed, consumer.run],
        keeper=_keeper(platform, settings, tenants),
    )


def _keeper(platform: Platform, settings: FlagsSettings, tenants: TenantProjection) -> Keeper:
    return Keeper(platform, settings, [tenants.generations])


def main() -> None:
    """Run from environment variables; with words, rebuild or compare projections instead of serving."""
    settings = load(FlagsSettings)
    if words := sys.argv[1:]:
        platform = Platform.build(NAME, settings)
        sys.exit(commands.run(words, _keeper(platform, settings, TenantProjection(platform.mongo))))
    serve(build(settings), settings, NAME)
