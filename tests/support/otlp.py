"""A collector of OpenTelemetry's protocol over HTTP (OTLP/HTTP, protobuf), in the loop of the test."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
ERROR = 2


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was exported; ids in hexadecimal digits, ``parent`` empty at the root."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """An ASGI application that takes spans at ``/v1/traces``."""

    spans: list[Span] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        known = scope["path"] == "/v1/traces"
        if known:
            headers = dict(scope["headers"])
            self._take(gzip.decompress(body) if headers.get(b"content-encoding") == b"gzip" else body)
        await send({"type": "http.response.start", "status": 200 if known else 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def of(self, trace: str) -> list[Span]:
        """Return the spans of a trace, in the order of arrival."""
        return [span for span in self.spans if span.trace == trace]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            about = _values(resource.resource.attributes)
            for scoped in resource.scope_spans:
                self.spans += [_span(about["service.name"], span) for span in scoped.spans]


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=span.status.code == ERROR,
        attributes=_values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
