"""One request and its answer on a client's connection: the ASGI side of ``gateway.protocol``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from gateway.protocol import ClientConnection

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EXTENSION = "dezky.exchange"
"""Key of the exchange in ``scope["extensions"]``."""

BODY_HIGH_WATER = 64 * 1024
"""Bytes of request body held before the client's socket is no longer read."""

log = structlog.get_logger("gateway.exchange")


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


STATUS_LINES = {status: f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode() for status in range(100, 600)}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = frozenset({204, 304})


class Exchange:
    """Request in, answer out. The connection feeds it, the application reads and writes it.

    Attributes:
        on_disconnect: called once if the client goes away before the answer is complete.
        incomplete: whether part of the request body is still to come.
    """

    __slots__ = (
        "_bodiless", "_chunked", "_chunks", "_connection", "_head", "_read_to_end", "_remaining", "_waiter",
        "_wants_continue", "buffered", "complete", "disconnected", "incomplete", "keep_alive", "on_disconnect",
        "scope", "started",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection, scope: Scope, *, keep_alive: bool, wants_continue: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.incomplete = True
        self.buffered = 0
        self.started = False
        self.complete = False
        self.disconnected = False
        self.on_disconnect: Callable[[], None] | None = None
        self._connection = connection
        self._wants_continue = wants_continue
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._head: Message | None = None
        self._read_to_end = False
        self._bodiless = False
        self._chunked = False
        self._remaining: int | None = None

    async def run(self, app: Application) -> None:
        """Serve the request; whatever happens, the client gets a whole answer or a broken connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            # The last line of defence of a connection: the application renders its own errors.
            log.exception("gateway.exchange_failed", path=self.scope["path"])
        finally:
            # The scope holds us and we hold the scope: without this, each request is work for the cycle collector.
            self.scope["extensions"] = {}
            self._connection.exchange_left(self)

    # -- fed by the connection

    def feed(self, data: bytes) -> None:
        """Take a piece of the request body."""
        if not self.complete:
            self._chunks.append(data)
            self.buffered += len(data)
            self._wake()

    def end_of_body(self) -> None:
        """Take note that the request is whole."""
        self.incomplete = False
        self._wake()

    def disconnect(self) -> None:
        """Take note that the client is gone."""
        self.disconnected = True
        self._wake()
        callback, self.on_disconnect = self.on_disconnect, None
        if callback is not None and not self.complete:
            callback()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- called by the application

    async def receive(self) -> Message:
        """Return the next piece of the request body; after the last one, ``http.disconnect`` once it happens."""
        if self._wants_continue:
            self._wants_continue = False
            if self.incomplete and not self._chunks and not self.started:
                self._connection.write(_CONTINUE)
        while not self.disconnected and not self.complete:
            if self._chunks or not (self.incomplete or self._read_to_end):
                return self._take()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    def _take(self) -> Message:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        self.buffered = 0
        self._read_to_end = not self.incomplete
        self._connection.consider_reading()
        return {"type": "http.request", "body": body, "more_body": self.incomplete}

    async def send(self, message: Message) -> None:
        """Send the start or a piece of the answer; returns once the client can take more.

        The head waits for the first piece of body, so that a small answer is one write to the socket.

        Raises:
            RuntimeError: the messages are out of order, or the body is longer or shorter than announced.
        """
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            if self._head is not None:
                raise RuntimeError("the answer has started already")
            self._head = message
            return
        if self._head is None or self.complete:
            raise RuntimeError("a body needs a started and unfinished answer")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        parts: list[bytes] = []
        if not self.started:
            self._start(parts, len(body), more)
        self._frame(parts, body, more)
        if parts:
            self._connection.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if not more:
            self.complete = True
            self.on_disconnect = None
            self._connection.exchange_complete(self)
        elif self._connection.write_stalled:
            await self._connection.drained()

    def _start(self, parts: list[bytes], size: int, more: bool) -> None:
        head = cast("Message", self._head)
        status: int = head["status"]
        parts.append(STATUS_LINES[status])
        length: int | None = None
        dated = False
        for name, value in head.get("headers", ()):
            if name == b"content-length":
                length = int(value)
            elif name == b"date":
                dated = True
            parts += (name, b": ", value, b"\r\n")
        if not dated:  # RFC 9110 §6.6.1
            for name, value in self._connection.default_fields:
                parts += (name, b": ", value, b"\r\n")
        bodiless = self.scope["method"] == "HEAD" or status in _BODILESS
        if not bodiless and length is None:
            if not more:
                length = size
                parts.append(b"content-length: %d\r\n" % size)
            elif self.scope["http_version"] == "1.1":
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        # What is still to come of the request would be read as the next request.
        if self.incomplete or self._connection.draining:
            self.keep_alive = False
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        self._bodiless = bodiless
        self._remaining = length
        self.started = True

    def _frame(self, parts: list[bytes], body: bytes, more: bool) -> None:
        if self._bodiless:
            return
        if self._chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
            return
        if self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining > 0 and not more):
                raise RuntimeError("the body is not as long as its Content-Length says")
        if body:
            parts.append(body)
