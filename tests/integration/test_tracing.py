"""Spans of a request and of what follows from it, in one trace, at a collector on a real socket."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request

from shared import tracing
from shared.app import Platform, create_app
from shared.contracts.envelope import CloudEvent
from shared.inbox import EventConsumer
from shared.mongo import Transaction
from shared.policy import AnyPerson
from shared.settings import ServiceSettings
from shared.testing import Callers, person
from tests.gateway.running import running
from tests.integration.parts import happened
from tests.support.otlp import Collector
from tests.support.servers import LiveServer, free_port
from tests.support.waiting import eventually


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that this process exports to."""
    taking = Collector()
    async with LiveServer(taking, free_port()) as server:
        tracing.start("tests", "test", server.url)
        yield taking
        await tracing.stop()


def new_trace() -> tuple[str, str]:
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


async def test_what_follows_from_a_request_is_below_it(collector: Collector, service_environment: Any) -> None:
    """Server, producer and consumer spans; the event in between carries the request's trace."""
    router = APIRouter()

    @router.post("/suspend")
    async def suspend(request: Request, _: AnyPerson) -> Any:
        platform: Platform = request.app.state.platform
        await platform.mongo.transactions.run(lambda tx: platform.outbox.add(tx, happened(1)))
        return {}

    settings = ServiceSettings(**service_environment("tenant"))
    platform = Platform.build("tenant", settings)
    seen: list[CloudEvent] = []

    async def handle(event: CloudEvent, _: Transaction) -> None:
        seen.append(event)

    consumer = EventConsumer(platform.bus, "flags-tenants", platform.mongo, handle, platform.clock)
    app = create_app(platform, None, [router], indexes={}, tasks=[consumer.run])
    trace, parent = new_trace()
    headers = {**Callers("tenant").headers(person()), "traceparent": parent}
    async with LiveServer(app, settings.port) as server, httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/suspend", headers=headers)).status_code == 200

        async def handled() -> bool:
            return bool(seen)

        await eventually(handled)
    # The service ended, and sent what it had.
    spans = {span.kind: span for span in collector.of(trace)}
    assert {kind: span.name for kind, span in spans.items()} == {
        "server": "POST /suspend",
        "producer": "publish tenant.happened.v1",
        "consumer": "process flags-tenants",
    }
    assert spans["server"].parent == parent.split("-")[2]
    assert spans["producer"].parent == spans["consumer"].parent == spans["server"].id
    assert seen[0].traceparent == f"00-{trace}-{spans['server'].id}-01"
    assert spans["server"].attributes == {
        "http.request.method": "POST",
        "http.route": "/suspend",
        "http.response.status_code": 200,
    }
    assert {span.service for span in spans.values()} == {"dezky-tests"}


async def test_the_gateways_span_is_the_parent_of_the_services(collector: Collector) -> None:
    trace, parent = new_trace()
    async with running() as gateway:
        await gateway.get("/api/tenants/acme", f"traceparent: {parent}")
        sent = gateway.service.last.field(b"traceparent")
    await tracing.stop()
    (span,) = collector.of(trace)
    assert (span.name, span.kind, span.parent) == ("GET /api/tenants", "server", parent.split("-")[2])
    assert sent == f"00-{trace}-{span.id}-01".encode()


async def test_a_collector_that_is_away_holds_nobody_up() -> None:
    tracing.start("tests", "test", f"http://127.0.0.1:{free_port()}")
    span = tracing.begin("lost", "server", "")
    assert span is not None
    span.end(failed=True)
    began = time.monotonic()
    await tracing.stop()
    assert time.monotonic() - began < tracing.STOP_SECONDS + 1
    assert tracing.begin("after", "server", "") is None


def test_without_a_collector_the_sdk_is_not_even_loaded() -> None:
    loaded = "import sys, services.flags.main, gateway.main, shared.tracing as t; t.start('x', 'test', '')"
    check = "print(t.begin('a', 'server', ''), [name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", f"{loaded}; {check}"], capture_output=True, text=True, check=True)
    assert done.stdout == "None []\n"


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", ""),
        ("jane@example.org", ""),
        (None, ""),
    ],
)
def test_only_a_trace_by_the_standard_is_one(traceparent: str | None, trace: str) -> None:
    """W3C Trace Context, level 1 §3.2.2.3; the first is its own example. What is none goes into no audit entry."""
    assert tracing.trace_id(traceparent) == trace
