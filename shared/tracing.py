"""Traces (W3C Trace Context): one id from the client's request to the audit entry, and spans where they are collected.

The id itself needs no collector: the gateway continues the caller's trace or begins one, and from there it goes by
header, outbox and event, and stands in every log line. Spans are made once ``start`` was given an endpoint of
OpenTelemetry's protocol over HTTP (OTLP/HTTP); until then the SDK is not even imported, and ``span`` does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog

from shared import context

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OpenSpan
    from opentelemetry.trace import Tracer

Kind = Literal["server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]

EXPORT_SECONDS = 5
STOP_SECONDS = 5.0
# W3C Trace Context, level 1 §3.2.2, version 00; a trace or a parent of zeros is none.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

log = structlog.get_logger()
_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def trace_id(traceparent: str | None) -> str:
    """Return the 32 hexadecimal digits of the trace that a ``traceparent`` belongs to; empty if it is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else ""


def start(service: str, environment: str, endpoint: str) -> None:
    """Export spans of this process to ``endpoint`` + ``/v1/traces`` from now on; an empty endpoint turns nothing on.

    Batches are sent by a thread of their own, each within EXPORT_SECONDS; spans that no collector takes are dropped.
    ``OTEL_EXPORTER_OTLP_HEADERS`` and ``OTEL_TRACES_SAMPLER`` are read by the SDK.
    """
    global _provider, _tracer  # noqa: PLW0603 - as logs are: one destination a process
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - costs 0.5 s
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    about = {"service.name": f"dezky-{service}", "deployment.environment.name": environment}
    _provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("dezky")


async def stop() -> None:
    """Send what is left, for at most STOP_SECONDS, and make no more spans."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is None:
        return
    sending = asyncio.create_task(asyncio.to_thread(provider.shutdown), name="tracing.stop")
    _, late = await asyncio.wait([sending], timeout=STOP_SECONDS)
    if late:
        log.warning("tracing.spans_lost")


class Span:
    """A span that has begun; ``traceparent`` makes it the parent of what follows."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OpenSpan) -> None:
        self._span = span
        about = span.get_span_context()
        self.traceparent = f"00-{about.trace_id:032x}-{about.span_id:016x}-{int(about.trace_flags):02x}"

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        """End it now."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - there is a span, so it is loaded

        if attributes:
            self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def end_request(self, method: str, route: str, status: int) -> None:
        """End the span of a request, named as OpenTelemetry's conventions for HTTP servers say: method and route."""
        self._span.update_name(f"{method} {route}")
        attributes: Attributes = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        self.end(attributes, failed=status >= 500)


def begin(name: str, kind: Kind, traceparent: str, attributes: Attributes | None = None) -> Span | None:
    """Begin a span below ``traceparent``, or a new trace where that is none; None while no spans are collected."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - there is a tracer, so it is loaded

    parent = _context_of(traceparent)
    return Span(_tracer.start_span(name, context=parent, kind=SpanKind[kind.upper()], attributes=attributes))


def _context_of(traceparent: str) -> Context:
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return Context()
    known = SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))
    return set_span_in_context(NonRecordingSpan(known), Context())


@contextlib.contextmanager
def span(name: str, kind: Kind, about: context.RequestContext, attributes: Attributes | None = None) -> Iterator[None]:
    """Make ``about`` current for the block, with a span of the block in its trace where spans are collected."""
    begun = begin(name, kind, about.traceparent, attributes)
    if begun is not None:
        about = replace(about, traceparent=begun.traceparent)
    failed = True
    try:
        with context.bound(about):
            yield
        failed = False
    finally:
        if begun is not None:
            begun.end(failed=failed)
