"""The edge of every service, in plain ASGI: who calls, request context, metrics, one log line, the last error."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import context, tracing
from shared.auth import InternalTokenVerifier
from shared.errors import DomainError, Unauthenticated, problem, render
from shared.ids import new_id
from shared.metrics import REQUESTS, SECONDS

log = structlog.get_logger()

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics"})


class Edge:
    """Verifies the internal token before anything else looks at the request.

    Request id, trace and client address are believed only beside a valid token; it is the gateway that sets
    them. ``public`` are prefixes that the service authenticates by itself (webhooks).
    """

    def __init__(
        self, app: ASGIApp, service: str, verifier: InternalTokenVerifier, public: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._service = service
        self._verifier = verifier
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        begun = False

        async def observed(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message["headers"], (b"x-request-id", about.request_id.encode())]
            await send(message)

        headers = dict(scope["headers"])
        about = context.RequestContext(request_id=new_id())
        context.bind(about)
        span: tracing.Span | None = None
        try:
            about = self._admit(scope, headers) or about
            span = tracing.begin(scope["method"], "server", about.traceparent)
            if span is not None:
                about = replace(about, traceparent=span.traceparent)
            context.bind(about)
            await self._app(scope, receive, observed)
        except DomainError as error:
            await _answer(observed, *render(error, about.request_id))
        except Exception:
            log.exception("request.failed")
            if begun:  # nothing but breaking off tells the client that the answer is not whole
                raise
            body = problem(500, "internal_error", "Internal error", request_id=about.request_id)
            await _answer(observed, 500, {"content-type": "application/problem+json"}, body)
        finally:
            self._account(scope, status, time.perf_counter() - started, span)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> context.RequestContext | None:
        """Return the believed context, or None for an open path without a token."""
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if not token and scope["path"].startswith(self._public or ("\x00",)):
            return None
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send the request through the gateway")
        scope["dezky.principal"] = self._verifier.verify(token)
        return context.RequestContext(
            request_id=headers.get(b"x-request-id", b"").decode("latin-1")[:64] or new_id(),
            traceparent=headers.get(b"traceparent", b"").decode("latin-1")[:64],
            client_ip=headers.get(b"x-dezky-client-ip", b"").decode("latin-1")[:45],
        )

    def _account(self, scope: Scope, status: int, seconds: float, span: tracing.Span | None) -> None:
        route: Any = scope.get("route")
        pattern = getattr(route, "path", "unmatched")
        REQUESTS.labels(self._service, scope["method"], pattern, str(status)).inc()
        SECONDS.labels(self._service, pattern).observe(seconds)
        log.info("request", method=scope["method"], route=pattern, status=status, ms=round(seconds * 1000, 2))
        if span is not None:
            span.end_request(scope["method"], pattern, status)


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
