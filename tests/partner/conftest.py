"""A partner service behind a real socket, on a real MongoDB and a real NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.partner.main import NAME, build
from services.partner.settings import PartnerSettings
from shared.app import Platform
from shared.clock import Clock
from tests.support.servers import LiveServer
from tests.support.waiting import eventually


@asynccontextmanager
async def serving(environment: Any, clock: Clock | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service; ``clock`` is what its use cases go by, tokens go by the machine's."""
    settings = PartnerSettings(**environment("partner"))
    platform = Platform.build(NAME, settings)
    if clock is not None:
        platform = replace(platform, clock=clock)
    async with (
        LiveServer(build(settings, platform), settings.port) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
        yield http


@pytest.fixture
async def client(service_environment: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service_environment) as http:
        yield http
