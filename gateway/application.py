"""The gateway as an ASGI application: finds the route, admits, forwards, and accounts for every answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from gateway.addresses import ClientAddresses
from gateway.admission import Admission
from gateway.exchange import Receive, Scope, Send
from gateway.headers import Inbound, new_trace
from gateway.problems import InvalidToken, NotPermitted, Refusal, RouteNotFound
from gateway.proxy import AnswerBroken, ClientGone, Proxy, Request
from gateway.refusals import Refusals
from gateway.routes import RouteTable
from gateway.targets import read_path
from gateway.telemetry import Telemetry
from gateway.visits import Page, Pages, Visit
from shared import context, tracing
from shared.ids import new_id
from shared.tracing import trace_id

CLIENT_CLOSED_REQUEST = 499
"""How a request whose client left is counted; nobody receives it."""

_UNMATCHED = "unmatched"
log = structlog.get_logger("gateway")


class MethodNotAllowed(Refusal):
    status, title, default_code = 405, "This method is not for this route", "method_not_allowed"

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", b"GET, HEAD")]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that the gateway makes itself."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    cache_control: str = "no-store"


Endpoint = Callable[[], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Gateway:
    """One instance serves all requests of a process.

    ``endpoints`` are the gateway's own paths, answered to GET and HEAD; ``life`` is the lifespan application;
    ``pages`` are those of the browser sign-in, where there is one.
    """

    routes: RouteTable
    addresses: ClientAddresses
    admission: Admission
    proxy: Proxy
    endpoints: Mapping[str, Endpoint]
    telemetry: Telemetry
    refusals: Refusals
    life: Callable[[Scope, Receive, Send], Awaitable[None]]
    pages: Pages | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.life(scope, receive, send)
            return
        started = time.perf_counter()
        handling = _Handling(self, scope, receive, send, new_id())
        status = 500
        try:
            status = await handling.run()
        finally:
            seconds = time.perf_counter() - started
            self.telemetry.request(
                scope["method"], handling.label, status, seconds, handling.request_id, trace_id(handling.traceparent)
            )
            if handling.span is not None:
                handling.span.end_request(scope["method"], handling.label, status)


class _Handling:
    """One request on its way through the gateway.

    Attributes:
        label: names its route once that is known.
        traceparent: what follows from the request is below it; of a trace of its own until the caller's is known.
    """

    __slots__ = ("_gateway", "_receive", "_scope", "_send", "address", "label", "request_id", "span", "traceparent")

    def __init__(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self._gateway = gateway
        self._scope = scope
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.label = _UNMATCHED
        self.address = ""
        self.traceparent = new_trace(request_id)
        self.span: tracing.Span | None = None

    async def run(self) -> int:
        """Answer, and return the status that the client got."""
        try:
            return await self._handle()
        except Refusal as refusal:
            if isinstance(refusal, InvalidToken | NotPermitted):
                self._gateway.refusals.add(self.address, self.label, refusal.code)
            return await self._refuse(refusal)
        except ClientGone:
            return CLIENT_CLOSED_REQUEST
        except AnswerBroken as broken:
            log.warning("gateway.answer_broken", route=self.label, request_id=self.request_id, reason=str(broken))
            return 502  # too late to say: the connection breaks, because the answer has begun
        except Exception:
            log.exception("gateway.failed", route=self.label, request_id=self.request_id)
            return await self._refuse(Refusal())

    async def _handle(self) -> int:
        gateway, scope = self._gateway, self._scope
        path = read_path(scope["raw_path"])
        endpoint = gateway.endpoints.get(path)
        if endpoint is not None:
            self.label = path
            return await self._reply(endpoint)
        page = gateway.pages.find(path) if gateway.pages is not None else None
        if page is not None:
            return await self._visit(page, path)
        route = gateway.routes.match(path)
        if route is None:
            raise RouteNotFound
        self.label = route.pattern
        inbound = Inbound(scope["headers"])
        self._place(inbound)
        credential = await gateway.admission.credential(route, inbound, scope)
        request = Request(
            scope, self._receive, self._send, route, inbound, self.request_id, self.traceparent, self.address
        )
        return await gateway.proxy.forward(request, credential)

    def _place(self, inbound: Inbound) -> None:
        """Find out where the request comes from and which trace it continues, and bind both."""
        scope = self._scope
        peer = scope["client"]
        self.address = self._gateway.addresses.of(peer[0] if peer else "", scope["headers"])
        self.traceparent = inbound.continued() or self.traceparent
        self.span = tracing.begin(scope["method"], "server", self.traceparent)
        if self.span is not None:
            self.traceparent = self.span.traceparent
        context.bind(context.RequestContext(self.request_id, self.traceparent, self.address))

    async def _visit(self, page: tuple[str, Page], path: str) -> int:
        scope = self._scope
        self.label, respond = page
        self._place(Inbound(scope["headers"]))
        answer = await respond(
            Visit(
                method=scope["method"],
                path=path,
                query=scope["query_string"],
                headers=scope["headers"],
                address=self.address,
                request_id=self.request_id,
                receive=self._receive,
            )
        )
        length = (b"content-length", str(len(answer.body)).encode())
        headers = [field for field in answer.headers if field[0] != b"content-length"]
        await self._answer(answer.status, [*headers, length], answer.body)
        return answer.status

    async def _reply(self, endpoint: Endpoint) -> int:
        if self._scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed
        reply = await endpoint()
        headers = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", str(len(reply.body)).encode()),
            (b"cache-control", reply.cache_control.encode()),
        ]
        await self._answer(reply.status, headers, reply.body)
        return reply.status

    async def _refuse(self, refusal: Refusal) -> int:
        headers, body = refusal.render(self.request_id)
        await self._answer(refusal.status, headers, body)
        return refusal.status

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        headers.append((b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
