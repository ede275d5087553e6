"""Composition root of the health service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import httpx
from fastapi import FastAPI

from services.health.dead_letters import DeadLetters
from services.health.examples import OPERATIONS
from services.health.forgetting import DeadLetterWalk
from services.health.measures import measures
from services.health.models import DEADLINE_SECONDS
from services.health.probes import probes_of
from services.health.repository import INDEXES, ErasureRepository, ProbeRepository
from services.health.routes import router
from services.health.service import HealthService
from services.health.settings import HealthSettings
from shared.app import Platform, create_app, serve
from shared.http_client import trust
from shared.settings import load

NAME = "health"


@dataclass(frozen=True)
class Deps:
    """What the routes of this service call."""

    health: HealthService


def build(settings: HealthSettings, platform: Platform | None = None) -> FastAPI:
    """Wire the service; connects to nothing yet."""
    platform = platform or Platform.build(NAME, settings)
    client = httpx.AsyncClient(timeout=DEADLINE_SECONDS, follow_redirects=False, trust_env=False, verify=trust())

    async def mongo() -> None:
        await platform.mongo.ping()

    probes = probes_of(settings, client, mongo, platform.bus.topology.stream_dead, platform.issuer.issue)
    interval = timedelta(seconds=settings.interval_seconds)
    walk = DeadLetterWalk(
        DeadLetters(platform.bus), ErasureRepository(platform.mongo), platform.lease("dead-letters"), platform.clock
    )
    states = ProbeRepository(platform.mongo)
    service = HealthService(probes, states, platform.lease("probes"), platform.clock, interval)
    return create_app(
        platform,
        Deps(service),
        [router],
        operations=OPERATIONS,
        indexes=INDEXES,
        tasks=[service.run, walk.run],
        forgetting=walk.heard,
        closing=[client.aclose],
        public=("/health",),
        measures=measures(states, client, settings.nats_monitor),
    )


def main() -> None:
    """Run from environment variables."""
    settings = load(HealthSettings)
    serve(build(settings), settings, NAME)
