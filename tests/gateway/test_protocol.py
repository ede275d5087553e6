"""The client's connection: bounds in size, time and number; how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn

from gateway.edge import Limits
from tests.gateway.running import OK, Client, Seen, answering, request, running
from tests.support.waiting import eventually

FAST = Limits(head_time=0.15, body_idle=0.15, keep_alive=0.15, write_idle=0.3)


async def _until(condition: Any, what: str = "") -> None:
    async def look() -> bool:
        return bool(condition())

    await eventually(look, seconds=8, pause=0.005, what=what)


def _head_of(size: int) -> bytes:
    """Return a request whose head, as counted (fields and target), is ``size`` bytes."""
    raw = b"GET /health HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    counted = len(b"/health") + len(b"Host: a\r\n") + len(b"X: \r\n")
    return raw.replace(b"X: ", b"X: " + b"y" * (size - counted))


@pytest.mark.parametrize(("size", "status"), [(16 * 1024, 200), (16 * 1024 + 1, 431)])
async def test_a_head_has_16_kib(size: int, status: int) -> None:
    async with running() as gateway:
        answer = await gateway.ask(_head_of(size))
        assert answer.status == status
        if status == 431:
            assert answer.problem["code"] == "header_fields_too_large"
            assert gateway.service.seen == []


async def test_a_head_without_end_is_cut_off() -> None:
    async with running() as gateway:
        for start in (b"X: ", b"X", b"X: y\r\n"):
            client = await gateway.connect()
            await client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n")
            flood = asyncio.create_task(_flood(client, start * 10_000))
            answer = await client.answer()
            flood.cancel()
            assert (answer.status, answer.problem["code"]) == (431, "header_fields_too_large")


async def _flood(client: Client, piece: bytes) -> None:
    try:
        while True:
            await client.send(piece)
            await asyncio.sleep(0)
    except ConnectionError:
        pass


@pytest.mark.parametrize(("length", "status"), [(8 * 1024, 200), (8 * 1024 + 1, 414)])
async def test_a_target_has_8_kib(length: int, status: int) -> None:
    async with running() as gateway:
        answer = await gateway.get("/health?" + "q" * (length - len("/health?")))
        assert answer.status == status
        if status == 414:
            assert answer.problem["code"] == "uri_too_long"


async def test_a_target_without_end_is_cut_off() -> None:
    async with running() as gateway:
        client = await gateway.connect()
        await client.send(b"GET /")
        flood = asyncio.create_task(_flood(client, b"a" * 2_000))
        assert (await client.answer()).status in {414, 431}
        flood.cancel()


async def test_framing_that_outweighs_its_content_is_refused() -> None:
    async with running() as gateway:
        for start in (b"3;", b"3\r\nabc\r\n0\r\nX-Trailer: "):
            client = await gateway.connect()
            await client.send(request("POST", "/api/tenants", "Transfer-Encoding: chunked") + start)
            flood = asyncio.create_task(_flood(client, b"e" * 20_000))
            answer = await client.answer()
            flood.cancel()
            assert (answer.status, answer.problem["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /health HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_must_arrive_in_time(sent: bytes) -> None:
    async with running(limits=FAST) as gateway:
        client = await gateway.connect()
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (408, "request_timeout")
        assert await client.ended() == b""


async def test_a_head_that_trickles_must_arrive_in_time_all_the_same() -> None:
    async with running(limits=FAST) as gateway:
        client = await gateway.connect()
        await client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n")

        async def trickle() -> None:
            try:
                while True:
                    await client.send(b"X: y\r\n")
                    await asyncio.sleep(0.02)
            except ConnectionError:
                pass

        task = asyncio.create_task(trickle())
        assert (await client.answer()).status == 408
        task.cancel()


@pytest.mark.parametrize("sent", [b"", b"half"])
async def test_a_body_must_go_on_arriving(sent: bytes) -> None:
    async with running(limits=FAST) as gateway:
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", "Content-Length: 100") + sent)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (408, "request_timeout")
        await _until(lambda: gateway.upstreams["tenant"].pool.busy == 0)


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with running(limits=FAST) as gateway:
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_a_client_that_waits_for_its_answer_is_not_idle() -> None:
    release = asyncio.Event()

    async def script(_: Seen, __: Any, writer: Any) -> None:
        await release.wait()
        writer.write(OK)

    async with running(limits=FAST) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        await asyncio.sleep(0.5)  # longer than any limit of an idle client
        release.set()
        assert (await client.answer()).status == 200


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def script(_: Seen, __: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with running(limits=FAST) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(request("GET", "/api/me"))
        await _until(lambda: gateway.service.open == 1)
        await _until(lambda: gateway.service.open == 0, "the gateway to give up")
        assert not gateway.server.server_state.connections


async def test_connections_are_bounded_and_room_is_made_again() -> None:
    async with running(limits=Limits(connections=2)) as gateway:
        first, _second = await gateway.connect(), await gateway.connect()
        await _until(lambda: len(gateway.server.server_state.connections) == 2)
        third = await gateway.connect()
        answer = await third.answer()
        assert (answer.status, answer.problem["code"]) == (503, "too_many_connections")
        assert await third.ended() == b""
        await third.close()
        await first.close()
        await _until(lambda: len(gateway.server.server_state.connections) == 1)
        assert (await gateway.get("/api/me")).status == 200


async def test_pipelined_requests_are_bounded() -> None:
    async with running(limits=Limits(pipelined=2)) as gateway:
        client = await gateway.connect()
        await client.send(request("GET", "/api/me") * 10)
        statuses = [(await client.answer()).status for _ in range(4)]
        assert statuses == [200, 200, 200, 400]
        assert await client.ended() == b""


async def test_a_client_that_asks_for_the_end_gets_it() -> None:
    async with running() as gateway:
        client = await gateway.connect()
        await client.send(request("GET", "/api/me", "Connection: close"))
        answer = await client.answer()
        assert (answer.status, answer.field(b"connection")) == (200, b"close")
        assert await client.ended() == b""


async def test_the_date_is_there_once() -> None:
    async with running() as gateway:
        gateway.service.script = answering(
            b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n"
        )
        assert (await gateway.get("/api/me")).field(b"date") == b"Sun, 06 Nov 1994 08:49:37 GMT"
        assert (await gateway.get("/nothing")).field(b"date") is not None


async def test_stopping_finishes_what_runs_and_refuses_what_comes() -> None:
    release = asyncio.Event()

    async def script(_: Seen, __: Any, writer: Any) -> None:
        await release.wait()
        writer.write(OK)

    async with running(kind=uvicorn.Server) as gateway:
        gateway.service.script = script
        idle, busy = await gateway.connect(), await gateway.connect()
        await busy.send(request("GET", "/api/me"))
        await _until(lambda: gateway.service.seen)
        gateway.server.should_exit = True
        assert await idle.ended() == b""
        with pytest.raises(ConnectionError):
            await gateway.connect()
        release.set()
        answer = await busy.answer()
        assert (answer.status, answer.field(b"connection")) == (200, b"close")
        assert await busy.ended() == b""


async def test_a_head_cut_at_every_byte_is_read_the_same() -> None:
    async with running() as gateway:
        raw = request("POST", "/api/tenants?x=1", "X-Empty:", "X-Full: y", body=b"{}")
        client = await gateway.connect()
        for at in range(len(raw)):
            await client.send(raw[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200
        seen = gateway.service.last
        assert (seen.line, seen.body) == (b"POST /api/tenants?x=1 HTTP/1.1", b"{}")
        assert (seen.field(b"x-empty"), seen.field(b"x-full")) == (b"", b"y")
