"""What the gateway says about itself: one log line and a few numbers per request, counted without locks.

The numbers live in plain dictionaries of this event loop and become Prometheus families when somebody asks: a
counter of ``prometheus_client`` takes a lock and two look-ups each time, felt at ten thousand requests a second.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gateway.upstream import Upstream

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FLUSH_SECONDS = 0.1
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class RequestLines:
    """Writes one JSON line per request, in the shape of ``shared.logs``, a tenth of a second's lines at a time.

    A killed process loses that tenth; an audit trail is elsewhere. ``enabled`` follows the level of the logs.
    """

    def __init__(self, output: IO[bytes], *, enabled: bool = True) -> None:
        self._output = output
        self._enabled = enabled
        self._pending: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, event: dict[str, Any]) -> None:
        """Write ``event`` soon."""
        if not self._enabled:
            return
        self._pending.append(orjson.dumps(event, option=_LINE))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush)

    def start(self) -> None:
        """Nothing to do: the first line arms the timer."""

    async def close(self) -> None:
        """Write what is left."""
        self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._pending = self._pending, []
        if lines:
            self._output.write(b"".join(lines))
            self._output.flush()


class Telemetry:
    """Counts requests by route and status, and their time to the last byte by route."""

    def __init__(self, upstreams: Mapping[str, Upstream], lines: RequestLines | None = None) -> None:
        self._upstreams = upstreams
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, list[float]] = {}
        self._refused: dict[str, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._lines = lines or RequestLines(sys.stdout.buffer)

    def request(self, method: str, route: str, status: int, seconds: float, request_id: str, trace_id: str) -> None:
        """Take note of an answered request; ``route`` is the pattern, never the path."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        series = self._seconds.get(route)
        if series is None:
            series = self._seconds[route] = [0.0] * (len(BUCKETS) + 2)
        series[bisect_left(BUCKETS, seconds)] += 1
        series[-1] += seconds
        self._lines.add(
            {
                "event": "request",
                "level": "info",
                "timestamp": datetime.now(UTC),
                "service": "gateway",
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 2),
                "request_id": request_id,
                "trace_id": trace_id,
            }
        )

    def refused(self, code: str, _address: str) -> None:
        """Take note of a message that was refused before it was a request."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text format and its content type, those of shared parts included."""
        return generate_latest(self._registry) + generate_latest(), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (the interface of a Prometheus collector)."""
        requests = CounterMetricFamily(
            "dezky_gateway_requests", "Requests answered", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "dezky_gateway_request_seconds", "Time to the end of the answer", labels=["route"]
        )
        for route, series in self._seconds.items():
            seconds.add_metric([route], list(_cumulative(series[:-1])), series[-1])
        yield seconds
        refused = CounterMetricFamily(
            "dezky_gateway_messages_refused", "Messages refused before they were requests", labels=["code"]
        )
        for code, count in self._refused.items():
            refused.add_metric([code], count)
        yield refused
        yield self._connections()

    def _connections(self) -> Metric:
        gauge = GaugeMetricFamily(
            "dezky_gateway_upstream_connections",
            "Connections to services, and calls that wait for one",
            labels=["service", "state"],
        )
        for name, upstream in self._upstreams.items():
            pool = upstream.pool
            for state, count in (("busy", pool.busy), ("idle", pool.idle), ("waiting", pool.waiting)):
                gauge.add_metric([name, state], count)
        return gauge


def _cumulative(counts: Iterable[float]) -> Iterator[tuple[str, float]]:
    total = 0.0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        total += count
        yield bound, total
