"""The client's side of a connection: HTTP/1.1 (RFC 9112), strict, bounded and on deadlines.

llhttp (through httptools) frames the messages and already refuses bare line feeds, folded headers, conflicting
or malformed lengths. What it leaves to its user is refused here: a missing or doubled Host, transfer codings other
than ``chunked``, versions and methods that we do not speak, messages without bound in size or time.

Whatever is refused closes the connection, because after a fault nobody can say where the next request begins.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools

from gateway.edge import Edge, MessageRefused, head_too_large, unreadable
from gateway.exchange import BODY_HIGH_WATER, EXTENSION, STATUS_LINES, Application, Exchange, Scope
from gateway.problems import BadRequest
from gateway.targets import split_target
from shared.errors import PROBLEM_TYPE, problem
from shared.ids import new_id

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_WATCHED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ASGI = {"version": "3.0", "spec_version": "2.5"}
_LINGER_SECONDS = 2.0


_IDLE, _HEAD, _BODY, _DEAF = range(4)


class ClientConnection(asyncio.Protocol):
    """One client's connection, as uvicorn's server makes them.

    Requests on it are served one after another. ``_phase`` says what the parser reads: nothing, a head, a body, or
    nothing ever again.
    """

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
    ) -> None:
        self._app: Application = config.loaded_app
        self._server = server_state
        self._state = app_state
        self._edge = edge
        self._limits = edge.limits
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._phase = _HEAD
        self._current: Exchange | None = None
        self._incoming: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._refusal: MessageRefused | None = None
        self._reading = True
        self._drain: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._linger_until: float | None = None
        self._overhead = 0
        self.draining = False

    # -- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._since = self._last_read = self._loop.time()
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._peer = (str(peer[0]), int(peer[1])) if peer else None
        self._local = (str(local[0]), int(local[1])) if local else None
        self._server.connections.add(self)
        self._edge.sweeper.watch(self)
        if len(self._server.connections) > self._limits.connections:
            self._refuse(MessageRefused(503, "too_many_connections", "the gateway serves as many clients as it can"))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._edge.sweeper.forget(self)
        self._phase = _DEAF
        self._waiting.clear()
        if self._current is not None:
            self._current.disconnect()
        self.resume_writing()

    def eof_received(self) -> None:
        """The client has closed its side; like most servers we take that for gone and close ours."""

    def pause_writing(self) -> None:
        self._stalled_since = self._loop.time()
        self._drain = self._loop.create_future()

    def resume_writing(self) -> None:
        self._stalled_since = None
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._phase == _DEAF:
            return
        self._last_read = self._loop.time()
        before = self._phase
        if before != _IDLE:
            self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Upgrades are ignored (RFC 9110 §7.8 allows it). What follows is in no protocol that we agreed on.
            self._phase = _DEAF
        except httptools.HttpParserError as error:
            fault = error.__context__
            self._refuse(fault if isinstance(fault, MessageRefused) else unreadable(error))
        else:
            self._bound_overhead(before)

    def _bound_overhead(self, before: int) -> None:
        if self._phase == before == _HEAD and self._overhead > self._limits.head:
            self._refuse(head_too_large())
        elif self._phase == before == _BODY and self._overhead > self._limits.overhead:
            self._refuse(MessageRefused(400, "malformed_body", "the body's framing outweighs its content"))

    def shutdown(self) -> None:
        """Serve the request at hand, no more (called by the server when it stops)."""
        self.draining = True
        if self._current is None:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Close what waited too long."""
        limits = self._limits
        if self._linger_until is not None:
            if now > self._linger_until:
                self._transport.abort()
        elif self._stalled_since is not None and now - self._stalled_since > limits.write_idle:
            self._transport.abort()
        elif self._phase == _HEAD and now - self._since > limits.head_time:
            self._refuse(MessageRefused(408, "request_timeout", "the header fields did not arrive in time"))
        elif self._phase == _BODY and self._reading and now - self._last_read > limits.body_idle:
            self._refuse(MessageRefused(408, "request_timeout", "the request body did not arrive in time"))
        elif self._phase == _IDLE and self._current is None and now - self._since > limits.keep_alive:
            self._transport.close()

    # -- parser

    def on_message_begin(self) -> None:
        if len(self._waiting) >= self._limits.pipelined:
            raise MessageRefused(400, "too_many_pipelined", "too many requests wait on this connection")
        if self._phase != _HEAD:  # the first head of a connection counts from the connection
            self._since = self._last_read
        self._phase = _HEAD
        self._overhead = 0
        self._size = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._framing: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target:
            raise MessageRefused(414, "uri_too_long", f"the URL is longer than {self._limits.target} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == _BODY:
            return  # a trailer; RFC 9110 §6.5.1 lets an intermediary drop it
        self._size += len(name) + len(value) + 4
        if self._size > self._limits.head:
            raise head_too_large()
        name = name.lower()
        if name in _WATCHED:
            self._framing.append((name, value))
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self._parser.get_http_version()
        method = self._parser.get_method()
        if version not in {"1.1", "1.0"}:
            raise MessageRefused(505, "version_not_supported", "the gateway speaks HTTP/1.1")
        if method not in METHODS:
            raise MessageRefused(501, "method_not_implemented", "the gateway does not know this method")
        if self._size + len(self._url) > self._limits.head:
            raise head_too_large()
        host, body, wants_continue = self._read_framing(version)
        upgrade = self._parser.should_upgrade()
        if upgrade and body:
            raise MessageRefused(400, "upgrade_with_body", "a request with a body cannot ask for another protocol")
        keep_alive = version == "1.1" and not upgrade and self._parser.should_keep_alive()
        scope = self._scope(version, method, host)
        exchange = Exchange(self, scope, keep_alive=keep_alive, wants_continue=wants_continue)
        scope["extensions"] = {EXTENSION: exchange}
        self._incoming = exchange
        self._phase = _BODY
        self._overhead = 0
        if self._current is None:
            self._serve(exchange)
        else:
            self._waiting.append(exchange)
            self.consider_reading()

    def _read_framing(self, version: str) -> tuple[bytes, bool, bool]:
        """Return host, whether there is a body, whether the client waits for 100 (Continue)."""
        host: bytes | None = None
        body = wants_continue = False
        for name, value in self._framing:
            if name == b"host":
                if host is not None or not _HOST.fullmatch(value.strip()):
                    raise MessageRefused(400, "invalid_host", "a request has exactly one valid Host field")
                host = value.strip()
            elif name == b"content-length":
                body = int(value) > 0  # llhttp has refused all but digits, and a second one
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked" or version != "1.1":
                    raise MessageRefused(400, "invalid_transfer_encoding", "the one transfer coding is chunked")
                body = True
            elif value.strip().lower() == b"100-continue":
                wants_continue = version == "1.1"
            else:
                raise MessageRefused(417, "expectation_failed", "the one expectation is 100-continue")
        if host is None:
            raise MessageRefused(400, "invalid_host", "a request has exactly one valid Host field")
        return host, body, wants_continue

    def _scope(self, version: str, method: bytes, host: bytes) -> Scope:
        try:
            raw_path, query = split_target(self._url, host)
        except BadRequest as error:
            raise MessageRefused(400, error.code, error.detail) from None
        path = raw_path.decode("latin-1")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._local,
            "client": self._peer,
            "scheme": "http",
            "method": method.decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._state,
        }

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        if self._incoming is not None:
            self._incoming.feed(body)
            self.consider_reading()

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            self._incoming.end_of_body()
            self._incoming = None
        self._phase = _IDLE
        self._since = self._last_read

    # -- exchanges

    def _serve(self, exchange: Exchange) -> None:
        self._current = exchange
        task = self._loop.create_task(exchange.run(self._app))
        self._server.tasks.add(task)

    def exchange_complete(self, exchange: Exchange) -> None:
        """The last byte of an answer was written: go on with the next request, or close."""
        self._server.total_requests += 1
        self._current = None
        if self._transport.is_closing():
            return
        if not exchange.keep_alive or self.draining or exchange.incomplete:
            self._part(clean=not exchange.incomplete and not self._waiting)
        elif self._waiting:
            self._serve(self._waiting.popleft())
            self.consider_reading()
        elif self._refusal is not None:
            self._answer(self._refusal)
        elif self._phase == _DEAF:
            self._transport.close()
        else:
            if self._phase == _IDLE:
                self._since = self._loop.time()
            self.consider_reading()

    def exchange_left(self, exchange: Exchange) -> None:
        """The application has returned; an answer that it left unfinished breaks the connection."""
        self._server.tasks.discard(asyncio.current_task())
        if not exchange.complete and not exchange.disconnected:
            self._current = None
            self._transport.abort()

    @property
    def default_fields(self) -> list[tuple[bytes, bytes]]:
        """Fields of every answer that does not bring its own: the date, renewed each second by the server."""
        fields: list[tuple[bytes, bytes]] = self._server.default_headers
        return fields

    @property
    def write_stalled(self) -> bool:
        """Whether the client takes less than we send."""
        return self._drain is not None

    async def drained(self) -> None:
        """Return once the client takes more, or is gone."""
        if self._drain is not None:
            await asyncio.shield(self._drain)

    def write(self, data: bytes) -> None:
        """Write to the client; what it has no room for is kept, so watch ``write_stalled``."""
        self._transport.write(data)

    def consider_reading(self) -> None:
        """Read from the client while it makes sense: not ahead of the queue, not more than fits the buffer."""
        incoming = self._incoming
        wanted = not self._waiting and (incoming is None or incoming.buffered < BODY_HIGH_WATER)
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._last_read = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # -- ends

    def _refuse(self, refused: MessageRefused) -> None:
        """Refuse the message being read, after the answers to those before it."""
        reading_body, self._phase = self._phase == _BODY, _DEAF
        self._edge.on_refusal(refused.code, self._peer[0] if self._peer else "")
        victim, self._incoming = self._incoming, None
        if reading_body and victim is not None and victim is not self._current:
            self._waiting.remove(victim)
        elif reading_body and victim is not None:
            self._current = None
            victim.disconnect()
            if victim.started:
                self._transport.abort()
                return
        if self._current is None:
            self._answer(refused)
        else:
            self._refusal = refused
            self._reading = True
            self._transport.resume_reading()

    def _answer(self, refused: MessageRefused) -> None:
        title = HTTPStatus(refused.status).phrase
        request_id = new_id()
        body = problem(refused.status, refused.code, title, detail=refused.detail, request_id=request_id)
        fields = (
            f"content-type: {PROBLEM_TYPE}\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self._transport.write(STATUS_LINES[refused.status] + fields.encode() + body)
        self._part(clean=False)

    def _part(self, *, clean: bool) -> None:
        """Close. Unread input would make the kernel reset the connection and destroy the answer on its way
        (RFC 9112 §9.6), so unless the input is ``clean`` we close our side first and discard theirs for a while."""
        self._phase = _DEAF
        self._waiting.clear()
        if clean or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._linger_until = self._loop.time() + _LINGER_SECONDS
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
