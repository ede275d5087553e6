"""Calls to the services: a bounded pool of kept HTTP/1.1 connections for each, framed by llhttp.

The gateway does not use httpx here: on this path a call costs the work of one request, and httpx spends more on one
call than everything else together (``docs/adr/0001``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gateway.sweeper import Sweeper
from gateway.upstream_connection import Call, UpstreamConnection
from gateway.upstream_errors import UpstreamBroken, UpstreamBusy, UpstreamStale, UpstreamTimeout, UpstreamUnreachable

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 §9.2.2, of the methods that the gateway speaks."""

_MAX_DOCUMENT = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one service's pool; times in seconds.

    Attributes:
        connections: open at once, busy and idle.
        waiting: callers that may wait for a free connection.
        wait: how long they do.
        keep: how long an idle connection is kept; well below the services' own 75, so that we close first.
        idle: pause within an answer.
    """

    connections: int = 128
    waiting: int = 1_024
    wait: float = 1.0
    connect: float = 2.0
    keep: float = 30.0
    idle: float = 30.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a service listens."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read ``http://host:port``.

        Raises:
            ValueError: another scheme, or anything beside scheme, host and port.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be http://host:port")
        if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username:
            raise ValueError("must be scheme, host and port only")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls)

    @property
    def authority(self) -> str:
        """The value of a Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The origin in its ASCII form."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


class Pool:
    """Connections to one service: the warmest idle one first, a new one while there is room, else wait in turn."""

    def __init__(self, origin: Origin, limits: PoolLimits) -> None:
        self.origin = origin
        self.limits = limits
        self._tls = ssl.create_default_context() if origin.tls else None
        self._open: set[UpstreamConnection] = set()
        self._idle: deque[UpstreamConnection] = deque()
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._opening = 0

    @property
    def busy(self) -> int:
        """Connections with a call on them, or being opened."""
        return len(self._open) - len(self._idle) + self._opening

    @property
    def idle(self) -> int:
        """Connections kept for the next call."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection."""
        return len(self._waiters)

    def take_idle(self) -> UpstreamConnection | None:
        """Return the connection used last, if one is idle."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def take(self) -> UpstreamConnection:
        """Return a connection that no other call is on.

        Raises:
            UpstreamUnreachable, UpstreamBusy
        """
        connection = self.take_idle()
        if connection is not None:
            return connection
        if self._has_room() and not self._waiters:
            return await self.dial()
        if len(self._waiters) >= self.limits.waiting:
            raise UpstreamBusy("too many calls wait")
        try:
            async with asyncio.timeout(self.limits.wait):
                handed = await self._wait_in_turn()
        except TimeoutError:
            raise UpstreamBusy("no connection became free in time") from None
        return handed or await self.dial()

    async def dial(self) -> UpstreamConnection:
        """Open a connection, whether there is room for it or not.

        Raises:
            UpstreamUnreachable: refused, or not within the time for connecting.
        """
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(self, loop)
        self._opening += 1
        try:
            async with asyncio.timeout(self.limits.connect):
                await loop.create_connection(lambda: connection, self.origin.host, self.origin.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise UpstreamUnreachable(f"{self.origin.url}: {error}") from error
        else:
            self._open.add(connection)
        finally:
            self._opening -= 1
            self._invite()
        return connection

    def _has_room(self) -> bool:
        return len(self._open) + self._opening < self.limits.connections

    async def _wait_in_turn(self) -> UpstreamConnection | None:
        """Return a connection that was handed over, or None if there is room for a new one."""
        front = False
        while True:
            waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
            (self._waiters.appendleft if front else self._waiters.append)(waiter)
            try:
                handed = await waiter
            except asyncio.CancelledError:
                self._leave_line(waiter)
                raise
            if handed.usable if handed is not None else self._has_room():
                return handed
            front = True  # it went bad, or somebody was faster, on the way to us

    def _leave_line(self, waiter: asyncio.Future[UpstreamConnection | None]) -> None:
        """Step out of the line; what was handed over in the last moment goes to the next."""
        if waiter.cancelled() or not waiter.done():
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            return
        handed = waiter.result()
        if handed is None:
            self._invite()
        elif handed.usable:
            self.release(handed)

    def _next_waiter(self) -> asyncio.Future[UpstreamConnection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _invite(self) -> None:
        """Let the next caller in line try again, if there is room for a connection."""
        if self._has_room():
            waiter = self._next_waiter()
            if waiter is not None:
                waiter.set_result(None)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose call is over: for who waits longest, or to keep."""
        connection.idle_since = asyncio.get_running_loop().time()
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._invite()

    def sweep(self, now: float) -> None:
        """Fail calls past their deadline, close connections idle for too long."""
        for connection in tuple(self._open):
            connection.sweep(now)
        while self._idle and now - self._idle[0].idle_since > self.limits.keep:
            self._idle.popleft().close()

    def close(self) -> None:
        """Close all connections."""
        for connection in tuple(self._open):
            connection.close()
        self._idle.clear()


@dataclass(frozen=True, slots=True)
class Document:
    """A whole answer in memory."""

    status: int
    body: bytes
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Upstream:
    """One service, as the gateway calls it."""

    def __init__(self, name: str, origin: Origin, sweeper: Sweeper, limits: PoolLimits | None = None) -> None:
        self.name = name
        self.origin = origin
        self.pool = Pool(origin, limits or PoolLimits())
        self.origin_bytes = origin.url.encode()
        self.host_field = f"host: {origin.authority}\r\n".encode()
        self._sweeper = sweeper
        sweeper.watch(self.pool)

    async def call(
        self, method: str, request: bytes, timeout: float, *, whole: bool = True, fresh: bool = False
    ) -> Call:
        """Send a request, or its head and what is at hand of its body if it is not ``whole``.

        ``timeout`` is in seconds and bounds the whole call; ``fresh`` asks for a new connection.

        Raises:
            UpstreamUnreachable, UpstreamBusy: the service has seen nothing of the request.
        """
        pool = self.pool
        deadline = asyncio.get_running_loop().time() + timeout
        connection = await pool.dial() if fresh else pool.take_idle() or await pool.take()
        call = Call(connection, is_head=method == "HEAD", whole=whole, deadline=deadline, idle=pool.limits.idle)
        connection.start(call, request)
        return call

    async def document(self, method: str, target: str, *, fields: bytes, body: bytes = b"", timeout: float) -> Document:
        """Call the service for the gateway's own sake and return the whole answer.

        Only for what may be asked twice: a kept connection that turns out closed is replaced once. ``fields`` are
        complete header lines. ``timeout`` is in seconds and bounds everything, waiting for a connection included.

        Raises:
            UpstreamError: no complete answer, or one of more than 8 MiB.
        """
        request = b"%b %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
            method.encode(), target.encode(), self.host_field, fields, len(body), body,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await self._document(method, request, timeout)
                except UpstreamStale:
                    return await self._document(method, request, timeout, fresh=True)
        except TimeoutError:
            raise UpstreamTimeout from None

    async def _document(self, method: str, request: bytes, timeout: float, *, fresh: bool = False) -> Document:
        call = await self.call(method, request, timeout, fresh=fresh)
        try:
            await call.head()
            chunks, size = [], 0
            while chunk := await call.read():
                size += len(chunk)
                if size > _MAX_DOCUMENT:
                    raise UpstreamBroken("the answer is too large")
                chunks.append(chunk)
        finally:
            if not call.complete:
                call.abort()
        return Document(call.status, b"".join(chunks), dict(call.headers))

    def close(self) -> None:
        """Close the pool."""
        self._sweeper.forget(self.pool)
        self.pool.close()
