"""The gateway runs on uvloop, so its tests do, too."""

from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from tests.gateway.browsing import entrance, entrance_port, fleet_nats, provider
from tests.security.access.fixtures import document, samples, world

__all__ = [
    "document",
    "entrance",
    "entrance_port",
    "fleet_nats",
    "provider",
    "pytest_asyncio_loop_factories",
    "samples",
    "world",
]


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}
