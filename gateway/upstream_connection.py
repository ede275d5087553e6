"""One kept HTTP/1.1 connection to a service, and the call that is on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from gateway.upstream_errors import (
    CallAborted,
    UpstreamBroken,
    UpstreamError,
    UpstreamStale,
    UpstreamTimeout,
)

if TYPE_CHECKING:
    from gateway.upstream import Pool

HIGH_WATER = 128 * 1024
"""Bytes of an answer held for a slow client before the service is no longer read."""

MAX_HEAD = 64 * 1024
_MAX_INFORMATIONAL = 8
_BODILESS = frozenset({204, 304})


class Call:
    """A request on its way and its answer as it comes.

    Attributes:
        deadline: the event loop's time by which the answer must be whole; ``math.inf`` for none.
        idle: seconds that the answer, once begun, may pause.
        status, headers: valid after ``head()``; names in lower case.
        complete: the last byte of the answer has arrived (not: has been read).
    """

    __slots__ = (
        "_buffered", "_chunks", "_connection", "_error", "_waiter", "begun", "complete", "deadline", "headers",
        "idle", "is_head", "request_sent", "status",
    )  # fmt: skip

    def __init__(
        self, connection: UpstreamConnection, *, is_head: bool, whole: bool, deadline: float, idle: float
    ) -> None:
        self.deadline = deadline
        self.idle = idle
        self.is_head = is_head
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = False
        self.complete = False
        self.request_sent = whole
        self._connection = connection
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether ``read`` would return at once."""
        return bool(self._chunks) or self.complete

    @property
    def exhausted(self) -> bool:
        """Whether the whole answer has been read."""
        return self.complete and not self._chunks

    async def head(self) -> None:
        """Return once the final status and the header fields are here.

        Raises:
            UpstreamError: they will not come.
        """
        while not self.begun:
            await self._wait()

    async def read(self) -> bytes:
        """Return all of the body that is here and was not read, at least a byte; b"" at the end.

        Raises:
            UpstreamError: the answer broke off.
        """
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        chunks, self._chunks = self._chunks, []
        self._buffered = 0
        self._connection.read_on(self)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def write(self, data: bytes) -> None:
        """Send a piece of the request (framed by the caller); returns once the service can take more.

        Raises:
            UpstreamError: the call has failed.
        """
        if self._error is not None:
            raise self._error
        if not self.complete:
            await self._connection.write(data)

    def finish_request(self) -> None:
        """Say that the request was sent whole: the connection may serve another after the answer."""
        self.request_sent = True
        self._connection.try_release(self)

    def fail(self, error: UpstreamError) -> None:
        """End the call with ``error``, unless its answer is whole; the connection is dropped."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()
        self._connection.drop(self)

    def abort(self) -> None:
        """Give up: the client has gone or wants no more."""
        self.fail(CallAborted())

    # -- fed by the connection

    def feed(self, data: bytes) -> bool:
        """Take a piece of the answer's body; return whether there is room for more."""
        self._chunks.append(data)
        self._buffered += len(data)
        self._wake()
        return self._buffered < HIGH_WATER

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take status and header fields."""
        self.status = status
        self.headers = headers
        self.begun = True
        self._wake()

    def end(self) -> None:
        """Take note that the answer is whole."""
        self.complete = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class UpstreamConnection(asyncio.Protocol):
    """Frames answers with llhttp and refuses those that two readers could frame differently."""

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._call: Call | None = None
        self._served = 0
        self._until_close = False
        self._informational = 0
        self._any_byte = False
        self._reusable = False
        self._reading = True
        self._drain: asyncio.Future[None] | None = None
        self._active = 0.0
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether a call can start on it."""
        return self._call is None and not self._transport.is_closing()

    def start(self, call: Call, head: bytes) -> None:
        """Put ``call`` on this connection and send ``head``, with whatever body is at hand."""
        self._call = call
        self._any_byte = False
        self._informational = 0
        self._active = self._loop.time()
        self._transport.write(head)

    async def write(self, data: bytes) -> None:
        """Write and wait while the service takes less than it is sent."""
        self._transport.write(data)
        self._active = self._loop.time()
        if self._drain is not None:
            await asyncio.shield(self._drain)

    def try_release(self, call: Call) -> None:
        """Return to the pool if the call is over on both sides."""
        if self._call is call and call.complete and call.request_sent:
            self._call = None
            if self._reusable:
                self._served += 1
                self.read_on(None)
                self._pool.release(self)
            else:
                self._transport.close()

    def drop(self, call: Call) -> None:
        """Break the connection if ``call`` is still on it."""
        if self._call is call:
            self._call = None
            self._transport.abort()

    def read_on(self, call: Call | None) -> None:
        """Read from the service again: the client has taken what was held of ``call``."""
        if not self._reading and self._call is call:
            now = self._loop.time()
            if call is not None:
                call.deadline += now - self._active  # it was the client that took this time
            self._active = now
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        """Close an idle connection, or break a busy one."""
        if self._call is not None:
            self._call.fail(UpstreamBroken("the gateway is stopping"))
        else:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Fail the call if it waited too long."""
        call = self._call
        if call is None or call.complete:
            return
        if not self._reading:
            return  # the client is slow, not the service
        if now > call.deadline or (call.begun and now - self._active > call.idle):
            call.fail(UpstreamTimeout())

    # -- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        self.resume_writing()
        call, self._call = self._call, None
        if call is None or call.complete:
            return
        if self._until_close and exc is None:
            call.end()
        elif self._served and not self._any_byte:
            call.fail(UpstreamStale())
        else:
            call.fail(UpstreamBroken("the service closed the connection"))

    def pause_writing(self) -> None:
        self._drain = self._loop.create_future()

    def resume_writing(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self._transport.abort()  # nobody asked: whatever this is, it must not answer the next call
            return
        self._any_byte = True
        self._active = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reason = error.__context__ if isinstance(error.__context__, UpstreamBroken) else error
            self._reusable = False
            call.fail(UpstreamBroken(str(reason)))
            return
        if call.complete:
            self.try_release(call)

    # -- parser

    def on_message_begin(self) -> None:
        if self._call is None or self._call.complete:
            raise UpstreamBroken("more than one answer")
        self._headers = []
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._call is None or self._call.begun:
            return  # a trailer
        self._size += len(name) + len(value) + 4
        if self._size > MAX_HEAD:
            raise UpstreamBroken("the answer's header fields are too large")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        call, status = self._call, self._parser.get_status_code()
        if call is None:
            raise UpstreamBroken("an answer that nobody waits for")
        if status < 200:
            self._informational += 1
            if status == 101 or self._informational > _MAX_INFORMATIONAL:
                raise UpstreamBroken("the answer is informational without end")
            return
        self._until_close = not self._framed(call, status)
        # A kept parser would take a HEAD's Content-Length for a body to come (RFC 9110 §9.3.2).
        self._reusable = not (call.is_head or self._until_close) and self._parser.should_keep_alive()
        call.begin(status, self._headers)
        if call.is_head:
            call.end()

    def _framed(self, call: Call, status: int) -> bool:
        """Return whether the answer says where it ends.

        Raises:
            UpstreamBroken: a transfer coding other than ``chunked``; llhttp has refused conflicting lengths.
        """
        framed = call.is_head or status in _BODILESS
        for name, value in self._headers:
            if name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise UpstreamBroken("the answer's transfer coding is not chunked")
                framed = True
            elif name == b"content-length":
                framed = True
        return framed

    def on_body(self, body: bytes) -> None:
        call = self._call
        if call is None or call.complete:
            raise UpstreamBroken("a body where there is none")
        if not call.feed(body) and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._call is not None and self._call.begun and not self._call.complete:
            self._call.end()
