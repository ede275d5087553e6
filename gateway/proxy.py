"""The data plane: one request to one service and its answer back, streamed both ways.

Nothing is held in full. A slow client slows the service down and a slow service the client, through the sockets'
own flow control; a client that leaves takes its call with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.exchange import EXTENSION, Exchange, Receive, Scope, Send
from gateway.headers import Inbound, outbound
from gateway.problems import ContentTooLarge, Refusal, RequestTimeout, ServiceUnavailable
from gateway.routes import Route
from gateway.upstream import IDEMPOTENT, Upstream
from gateway.upstream_connection import Call
from gateway.upstream_errors import CallAborted, UpstreamError, UpstreamStale, UpstreamTimeout

EVENT_STREAM_IDLE = 60.0
"""Seconds that an event stream may be silent; ours send a comment every 15."""
EXPORT_IDLE = 300.0
"""Seconds that an export may be silent: one that finds little looks through much before its next line."""
STREAMS = (
    (b"text/event-stream", EVENT_STREAM_IDLE),
    (b"application/x-ndjson", EXPORT_IDLE),
    (b"text/csv", EXPORT_IDLE),
)
"""Answers that may take as long as they like, if nobody has said how long they are."""


class ClientGone(Exception):
    """The client has left; nobody waits for an answer."""


class AnswerBroken(Exception):
    """The service broke off within its answer, which the client has begun to read."""


@dataclass(slots=True)
class Request:
    """A request that found its route, with what the gateway says about it."""

    scope: Scope
    receive: Receive
    send: Send
    route: Route
    inbound: Inbound
    request_id: str
    traceparent: str
    client_ip: str

    @property
    def exchange(self) -> Exchange:
        """The request's end of the client's connection."""
        exchange: Exchange = self.scope["extensions"][EXTENSION]
        return exchange


class _Upload:
    """The rest of a request's body, on its way while the answer may come already."""

    def __init__(self, request: Request, call: Call, sent: int) -> None:
        self._request = request
        self._call = call
        self._sent = sent
        self.fault: Refusal | None = None
        self._task = asyncio.create_task(self._run(), name="proxy.upload")

    async def stop(self) -> None:
        """Send no more."""
        if not self._task.done():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        chunked = self._request.inbound.chunked
        more = True
        try:
            while more:
                message = await self._request.receive()
                if message["type"] != "http.request":
                    self._call.abort()
                    return
                piece, more = message["body"], message["more_body"]
                self._sent += len(piece)
                if self._sent > self._request.route.body_limit:
                    self.fault = _too_large(self._request.route)
                    self._call.abort()
                    return
                data = _chunk(piece, last=not more) if chunked else piece
                if data:
                    await self._call.write(data)
            self._call.finish_request()
        except UpstreamError:
            return  # the answering side sees the same and says so


class Proxy:
    """Forwards requests to the services."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def forward(self, request: Request, credential: bytes) -> int:
        """Forward ``request`` with the header line ``credential`` and return the status that the client got.

        Raises:
            Refusal: there is no answer to pass on, and none has begun.
            ClientGone, AnswerBroken
        """
        route, inbound = request.route, request.inbound
        upstream = self._upstreams.get(route.service)
        if upstream is None:
            raise ServiceUnavailable("no such service is configured", code="upstream_unavailable", retry_after=30)
        if inbound.content_length is not None and inbound.content_length > route.body_limit:
            raise _too_large(route)
        body, more = await _first_piece(request) if inbound.has_body else (b"", False)
        message = _message(request, upstream, credential, body, more=more)
        call: Call | None = None
        upload: _Upload | None = None
        try:
            call = await self._begin(request, upstream, message, more=more)
            upload = _Upload(request, call, len(body)) if more else None
            try:
                await call.head()
            except UpstreamStale:
                if more or request.scope["method"] not in IDEMPOTENT:
                    raise
                call = await self._begin(request, upstream, message, more=False, fresh=True)
                await call.head()
            return await self._answer(request, upstream, call)
        except UpstreamError as error:
            raise _explain(error, request, upload) from error
        finally:
            request.exchange.on_disconnect = None
            if upload is not None:
                await upload.stop()
            if call is not None and not (call.complete and call.request_sent):
                call.abort()

    @staticmethod
    async def _begin(request: Request, upstream: Upstream, message: bytes, *, more: bool, fresh: bool = False) -> Call:
        call = await upstream.call(request.scope["method"], message, request.route.timeout, whole=not more, fresh=fresh)
        exchange = request.exchange
        exchange.on_disconnect = call.abort
        if exchange.disconnected:
            call.abort()
        return call

    @staticmethod
    async def _answer(request: Request, upstream: Upstream, call: Call) -> int:
        headers = outbound(call.headers, upstream.origin_bytes)
        headers.append((b"x-request-id", request.request_id.encode()))
        sized, idle = False, None
        for name, value in headers:
            if name == b"content-length":
                sized = True
            elif name == b"content-type":
                idle = next((seconds for kind, seconds in STREAMS if value.startswith(kind)), None)
        if idle is not None and not sized:
            call.deadline, call.idle = math.inf, idle
        send = request.send
        await send({"type": "http.response.start", "status": call.status, "headers": headers})
        if not sized and not call.ready:
            # A stream: its head goes out now, its body whenever there is some.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        more = True
        while more:
            piece = await call.read()
            more = not call.exhausted
            await send({"type": "http.response.body", "body": piece, "more_body": more})
        return call.status


def _explain(error: UpstreamError, request: Request, upload: _Upload | None) -> Exception:
    if request.exchange.disconnected:
        return ClientGone()
    if request.exchange.started:
        return AnswerBroken(str(error))
    if upload is not None and upload.fault is not None:
        return upload.fault
    if isinstance(error, UpstreamTimeout) and request.exchange.incomplete:
        return RequestTimeout("the request body did not arrive in time")
    if isinstance(error, CallAborted):
        return ClientGone()
    return error.refusal()


async def _first_piece(request: Request) -> tuple[bytes, bool]:
    """Return the first bytes of the body and whether there are more; a body in one packet is whole here."""
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        if message["body"] or not message["more_body"]:
            if len(message["body"]) > request.route.body_limit:
                raise _too_large(request.route)
            return message["body"], message["more_body"]


def _message(request: Request, upstream: Upstream, credential: bytes, body: bytes, *, more: bool) -> bytes:
    """Return the request's head and first piece of body, as the service gets them."""
    scope, inbound = request.scope, request.inbound
    if not more:
        sized = body or inbound.content_length is not None or inbound.chunked
        framing = b"content-length: %d\r\n" % len(body) if sized else b""
    elif inbound.chunked:
        framing = b"transfer-encoding: chunked\r\n"
        body = _chunk(body, last=False)
    else:
        framing = b"content-length: %d\r\n" % (inbound.content_length or 0)
    query = scope["query_string"]
    return b"".join(
        (
            scope["method"].encode(), b" ", scope["raw_path"], b"?" + query if query else b"", b" HTTP/1.1\r\n",
            upstream.host_field, inbound.lines, credential, inbound.trace_lines(request.traceparent),
            b"x-request-id: ", request.request_id.encode(), b"\r\nx-dezky-client-ip: ", request.client_ip.encode(),
            b"\r\n", framing, b"\r\n", body,
        )
    )  # fmt: skip


def _chunk(piece: bytes, *, last: bool) -> bytes:
    """Frame a piece of a chunked body (RFC 9112 §7.1)."""
    framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return framed + b"0\r\n\r\n" if last else framed


def _too_large(route: Route) -> ContentTooLarge:
    return ContentTooLarge(f"the body of this request may have {route.body_limit} bytes")
