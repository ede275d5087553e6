"""Probes against real sockets, and what the API says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from infrastructure.local.servers.nats import NatsServer
from services.health.main import build
from services.health.models import ProbeState, Seen, after, is_up
from services.health.probes import Probe, http, nats, tcp
from services.health.repository import ProbeRepository
from services.health.settings import HealthSettings
from shared.mongo import Mongo
from shared.testing import Callers, ManualClock, operator, partner_person
from tests.support.servers import LiveServer, free_port
from tests.support.waiting import eventually

CALLERS = Callers("health")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(talk: Talk) -> AsyncIterator[int]:
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())  # type: ignore[arg-type]
        await talk(reader, writer)
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*talks)


async def says(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (Seen(500), "ok"),
        (Seen(501), "warn"),
        (Seen(1_500), "warn"),
        (Seen(1_501), "bad"),
        (Seen(3, error="refused"), "bad"),
        (Seen(3, warning="2 events wait"), "warn"),
    ],
)
def test_the_limits_are_500_and_1500_ms(seen: Seen, status: str) -> None:
    assert seen.status == status


def test_since_is_the_last_change_and_not_the_last_look() -> None:
    clock = ManualClock()
    first = after(None, "mongo", Seen(3), clock.now())
    began = clock.now()
    clock.advance(timedelta(seconds=10))
    assert after(first, "mongo", Seen(4), clock.now()).since == began
    assert after(first, "mongo", Seen(error="away"), clock.now()).since == clock.now()


def test_what_is_not_deployed_is_no_outage_and_nothing_probed_is_not_up() -> None:
    at = ManualClock().now()
    absent = after(None, "redis", None, at)
    assert absent.status == "not_deployed"
    assert is_up([absent, after(None, "mongo", Seen(1), at)])
    assert not is_up([absent])
    assert not is_up([after(None, "mongo", Seen(error="away"), at)])


async def test_a_refused_connection_is_bad_in_words() -> None:
    probe = Probe("redis", tcp(f"127.0.0.1:{free_port()}"))
    assert await probe.run() == Seen(error="refused the connection")


async def test_a_target_that_is_silent_is_bad_within_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with listener(silent) as port, httpx.AsyncClient() as client:
        started = asyncio.get_running_loop().time()
        seen = await Probe("ocis", http(client, f"http://127.0.0.1:{port}", "/status.php")).run()
        assert asyncio.get_running_loop().time() - started < 3
    assert seen == Seen(error="no answer within 1.5 s")


async def test_an_answer_that_says_503_is_bad_and_names_it() -> None:
    async def unready(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(writer, "503 Service Unavailable")

    async with listener(unready) as port, httpx.AsyncClient() as client:
        seen = await Probe("authentik", http(client, f"http://127.0.0.1:{port}", "/-/health/ready/")).run()
    assert seen is not None
    assert (seen.status, seen.error) == ("bad", "answered 503 to /-/health/ready/")


async def test_nats_is_ok_only_while_it_syncs_before_it_acknowledges(nats_server: NatsServer, tmp_path: Any) -> None:
    async with httpx.AsyncClient() as client:
        synced = await Probe("nats", nats(client, f"http://127.0.0.1:{nats_server.monitor_port}")).run()
        assert synced is not None
        assert synced.status == "ok"
        text = nats_server.config_text.replace('"sync_interval": "always"', '"sync_interval": "2m"')
        port, monitor = free_port(), free_port()
        text = text.replace(str(nats_server.port), str(port)).replace(str(nats_server.monitor_port), str(monitor))
        text = text.replace(str(nats_server.directory), str(tmp_path))
        lazy = NatsServer(tmp_path / "lazy", port, monitor, text)
        lazy.start()
        try:
            seen = await Probe("nats", nats(client, f"http://127.0.0.1:{monitor}")).run()
        finally:
            lazy.kill()
    assert seen is not None
    assert seen.error == "does not sync before it acknowledges (sync_interval: always)"


@pytest.fixture
async def client(service_environment: Any, nats_server: NatsServer) -> AsyncIterator[httpx.AsyncClient]:
    more = {
        "nats_monitor": f"http://127.0.0.1:{nats_server.monitor_port}",
        "redis": f"127.0.0.1:{free_port()}",
        "interval_seconds": 1,
    }
    settings = HealthSettings(**service_environment("health", **more))
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http_client,
    ):
        yield http_client


async def test_everybody_learns_up_or_down_and_operators_learn_why(client: httpx.AsyncClient, mongo: Mongo) -> None:
    async def probed() -> dict[str, Any]:
        answer = await client.get("/api/health/platform", headers=CALLERS.headers(operator()))
        assert answer.status_code == 200, answer.text
        return answer.json()

    seen = await eventually(probed)
    by_name = {probe["name"]: probe for probe in seen["probes"]}
    assert by_name["mongo"]["status"] == "ok"
    assert by_name["redis"]["status"] == "bad"
    assert by_name["redis"]["message"] == "refused the connection"
    assert by_name["postgres"]["status"] == "not_deployed"
    assert by_name["mongo"]["uptime"] is None
    # platform, mongo, nats, dead letters and redis have a target; redis is down.
    assert (seen["status"], seen["live"], seen["deployed"]) == ("down", 4, 5)
    assert seen["planned"] == ["Jitsi", "Zulip", "simpledns.plus", "Hetzner Object Storage", "Postmark"]
    public = await client.get("/health")
    assert (public.status_code, public.json()) == (200, {"status": "down"})


async def test_the_platform_view_is_for_operators(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/health/platform")).status_code == 401
    refused = await client.get("/api/health/platform", headers=CALLERS.headers(partner_person()))
    assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")


async def test_an_older_look_does_not_replace_a_newer_one(mongo: Mongo) -> None:
    clock = ManualClock()
    old = clock.now()
    clock.advance(timedelta(seconds=5))
    states = ProbeRepository(mongo)
    await states.save([ProbeState("mongo", "ok", clock.now(), clock.now())])
    await states.save([ProbeState("mongo", "bad", old, old)])
    assert (await states.all_across_tenants())["mongo"].status == "ok"
