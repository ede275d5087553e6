"""The pool: bounded, fair, with deadlines; connections that went bad are never used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.sweeper import Sweeper
from gateway.upstream import Origin, PoolLimits, Upstream
from gateway.upstream_errors import UpstreamBroken, UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from tests.gateway.running import OK, Seen, Service, answering
from tests.support.servers import free_port
from tests.support.waiting import eventually

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"


@contextlib.asynccontextmanager
async def _pooled(limits: PoolLimits | None = None) -> AsyncIterator[tuple[Service, Upstream]]:
    service = Service()
    await service.start()
    sweeper = Sweeper(0.02)
    upstream = Upstream("tenant", Origin("127.0.0.1", service.port), sweeper, limits)
    sweeper.start()
    try:
        yield service, upstream
    finally:
        upstream.close()
        sweeper.stop()
        await service.stop()


async def _get(upstream: Upstream, timeout: float = 5.0) -> bytes:
    async with asyncio.timeout(10):
        call = await upstream.call("GET", GET, timeout)
        await call.head()
        body = b""
        while piece := await call.read():
            body += piece
        return body


def _held(release: asyncio.Event) -> Any:
    async def script(_: Seen, __: Any, writer: Any) -> None:
        await release.wait()
        writer.write(OK)

    return script


async def _until(condition: Any) -> None:
    async def look() -> bool:
        return bool(condition())

    await eventually(look, seconds=8, pause=0.005)


async def test_no_more_connections_are_opened_than_allowed() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=2, wait=5)) as (service, upstream):
        service.script = _held(release)
        calls = [asyncio.create_task(_get(upstream)) for _ in range(6)]
        await _until(lambda: upstream.pool.waiting == 4 and len(service.seen) == 2)
        assert upstream.pool.busy == 2
        release.set()
        await asyncio.gather(*calls)
        assert service.connections == 2
        assert (upstream.pool.busy, upstream.pool.idle, upstream.pool.waiting) == (0, 2, 0)


async def test_who_waits_is_served_in_turn() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, wait=5)) as (service, upstream):
        service.script = _held(release)
        calls = []
        for number in range(5):
            calls.append(asyncio.create_task(upstream.document("GET", f"/{number}", fields=b"", timeout=5)))
            await asyncio.sleep(0)
        await _until(lambda: upstream.pool.waiting == 4)
        release.set()
        await asyncio.gather(*calls)
        assert [seen.line.split()[1] for seen in service.seen] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


async def test_waiting_for_a_connection_is_bounded_in_time() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, wait=0.05)) as (service, upstream):
        service.script = _held(release)
        first = asyncio.create_task(_get(upstream))
        await _until(lambda: service.seen)
        with pytest.raises(UpstreamBusy):
            await _get(upstream)
        assert upstream.pool.waiting == 0
        release.set()
        assert await first == b"{}"
        assert await _get(upstream) == b"{}"
        assert upstream.pool.waiting == 0


async def test_waiting_for_a_connection_is_bounded_in_number() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, waiting=1, wait=5)) as (service, upstream):
        service.script = _held(release)
        first = asyncio.create_task(_get(upstream))
        await _until(lambda: service.seen)
        second = asyncio.create_task(_get(upstream))
        await _until(lambda: upstream.pool.waiting == 1)
        with pytest.raises(UpstreamBusy):
            await _get(upstream)
        release.set()
        assert await asyncio.gather(first, second) == [b"{}", b"{}"]


async def test_who_gives_up_waiting_leaves_no_hole() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, wait=5)) as (service, upstream):
        service.script = _held(release)
        first = asyncio.create_task(_get(upstream))
        await _until(lambda: service.seen)
        second, third = asyncio.create_task(_get(upstream)), asyncio.create_task(_get(upstream))
        await _until(lambda: upstream.pool.waiting == 2)
        second.cancel()
        release.set()
        assert await asyncio.gather(first, third) == [b"{}", b"{}"]
        assert (upstream.pool.busy, upstream.pool.idle, upstream.pool.waiting) == (0, 1, 0)


async def test_a_connection_handed_over_at_the_last_moment_is_not_lost() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, wait=5)) as (service, upstream):
        service.script = _held(release)
        first = await upstream.call("GET", GET, 5)
        second = asyncio.create_task(upstream.call("GET", GET, 5))
        await _until(lambda: upstream.pool.waiting == 1)
        release.set()
        await first.head()
        # The answer to the first call has just handed the connection to the second, which has not run since.
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await second).abort()
        async with asyncio.timeout(2):
            assert await _get(upstream) == b"{}"


async def test_a_failed_call_makes_room_for_who_waits() -> None:
    async with _pooled(PoolLimits(connections=1, wait=5)) as (service, upstream):

        async def silent(_: Seen, reader: Any, __: Any) -> None:
            await reader.read()

        service.script = silent
        first = await upstream.call("GET", GET, 5)
        second = asyncio.create_task(_get(upstream))
        await _until(lambda: upstream.pool.waiting == 1)
        service.script = answering(OK)
        first.abort()
        assert await second == b"{}"


async def test_an_address_where_nobody_listens_is_unreachable() -> None:
    upstream = Upstream("tenant", Origin("127.0.0.1", free_port()), Sweeper(), None)
    with pytest.raises(UpstreamUnreachable):
        await _get(upstream)
    assert upstream.pool.busy == 0


async def test_connecting_has_a_deadline() -> None:
    # RFC 5737: nobody answers there, or the network says so at once.
    upstream = Upstream("tenant", Origin("192.0.2.1", 9), Sweeper(), PoolLimits(connect=0.05))
    async with asyncio.timeout(2):
        with pytest.raises(UpstreamUnreachable):
            await _get(upstream)


async def test_a_call_has_a_deadline_for_everything() -> None:
    async def trickle(_: Seen, __: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b".")
            await asyncio.sleep(0.01)

    async with _pooled() as (service, upstream):
        service.script = trickle
        with pytest.raises(UpstreamTimeout):
            await _get(upstream, timeout=0.15)
        await _until(lambda: upstream.pool.busy == 0)


async def test_a_document_bounds_the_wait_for_a_connection_too() -> None:
    release = asyncio.Event()
    async with _pooled(PoolLimits(connections=1, wait=60)) as (service, upstream):
        service.script = _held(release)
        first = asyncio.create_task(_get(upstream))
        await _until(lambda: service.seen)
        with pytest.raises(UpstreamTimeout):
            await upstream.document("GET", "/internal/x", fields=b"", timeout=0.05)
        release.set()
        await first


async def test_a_question_of_the_gateway_survives_a_kept_connection_that_closes_under_it() -> None:
    served: set[Any] = set()

    async def once(_: Seen, __: Any, writer: Any) -> None:
        if writer in served:
            writer.close()
        else:
            served.add(writer)
            writer.write(OK)

    async with _pooled() as (service, upstream):
        service.script = once
        for _ in range(3):
            answer = await upstream.document("POST", "/internal/x", fields=b"", body=b"{}", timeout=5)
            assert (answer.status, answer.body) == (200, b"{}")


async def test_a_connection_that_the_service_closed_is_not_used_again() -> None:
    async with _pooled() as (service, upstream):
        service.script = answering(OK)
        assert await _get(upstream) == b"{}"

        async def last(_: Seen, __: Any, writer: Any) -> None:
            writer.write(OK)
            await writer.drain()
            writer.close()

        service.script = last
        assert await _get(upstream) == b"{}"
        await _until(lambda: upstream.pool.idle == 0)
        service.script = answering(OK)
        assert await _get(upstream) == b"{}"
        assert service.connections == 2


async def test_a_connection_that_the_service_wants_closed_is_closed() -> None:
    async with _pooled() as (service, upstream):
        service.script = answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        for _ in range(2):
            assert await _get(upstream) == b""
        assert service.connections == 2


async def test_a_connection_that_speaks_unasked_is_dropped() -> None:
    writers: list[Any] = []

    async def script(_: Seen, __: Any, writer: Any) -> None:
        writers.append(writer)
        writer.write(OK)

    async with _pooled() as (service, upstream):
        service.script = script
        await _get(upstream)
        writers[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
        await _until(lambda: upstream.pool.idle == 0)
        assert await _get(upstream) == b"{}"


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with _pooled(PoolLimits(keep=0.1)) as (service, upstream):
        await _get(upstream)
        assert upstream.pool.idle == 1
        await _until(lambda: upstream.pool.idle == 0 and service.open == 0)


async def test_a_body_where_none_may_be_breaks_the_connection() -> None:
    async with _pooled() as (service, upstream):
        service.script = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")
        call = await upstream.call("HEAD", GET.replace(b"GET", b"HEAD"), 5)
        await call.head()
        assert (call.status, await call.read()) == (200, b"")
        await _until(lambda: upstream.pool.busy == 0)
        service.script = answering(OK)
        assert await _get(upstream) == b"{}"


async def test_what_a_slow_reader_holds_is_bounded_and_the_connection_stays_good() -> None:
    size = 3_000_000
    async with _pooled() as (service, upstream):
        service.script = answering(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        call = await upstream.call("GET", GET, 5)
        await call.head()
        await _until(lambda: not call._connection._reading)
        assert call._buffered < 600_000
        received = 0
        while piece := await call.read():
            received += len(piece)
        assert received == size
        service.script = answering(OK)
        assert await _get(upstream) == b"{}"
        assert service.connections == 1


async def test_the_gateway_stopping_ends_calls() -> None:
    release = asyncio.Event()
    async with _pooled() as (service, upstream):
        service.script = _held(release)
        call = await upstream.call("GET", GET, 5)
        upstream.close()
        with pytest.raises(UpstreamBroken):
            await call.head()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8081", Origin("127.0.0.1", 8081)),
        ("http://tenant/", Origin("tenant", 80)),
        ("https://tenant", Origin("tenant", 443, tls=True)),
        ("http://[::1]:8081", Origin("::1", 8081)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: Origin) -> None:
    assert Origin.parse(url) == origin


@pytest.mark.unit
@pytest.mark.parametrize("url", ["", "tenant:80", "ftp://a", "http://", "http://a/path", "http://u:p@a", "http://a?x"])
def test_anything_else_is_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Origin.parse(url)
