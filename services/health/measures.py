"""What the probes saw, and how NATS itself says that streams and consumers stand.

A service tells of its own consumers as long as it runs. What NATS says of them is asked for here, so that somebody
tells of a consumer whose service is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from prometheus_client import Gauge

from services.health.models import DEADLINE_SECONDS
from services.health.repository import ProbeRepository
from shared.measuring import Measure

_ok = Gauge("dezky_probe_ok", "1 unless the newest look at a target saw an outage", ["probe"])
_seconds = Gauge("dezky_probe_seconds", "How long the target took to answer", ["probe"])
_messages = Gauge("dezky_stream_messages", "Messages in a JetStream stream", ["stream"])
_bytes = Gauge("dezky_stream_bytes", "Bytes in a JetStream stream", ["stream"])
_most = Gauge("dezky_stream_limit_bytes", "Bytes that a JetStream stream may have: when full, it refuses", ["stream"])
_behind = Gauge(
    "dezky_nats_consumer_pending", "Events that a durable consumer has not acknowledged, as NATS says", ["consumer"]
)


def measures(states: ProbeRepository, client: httpx.AsyncClient, monitor: str) -> Sequence[Measure]:
    """Return them; without the URL of NATS's monitor, those of the probes only."""

    async def look_at_probes() -> None:
        found = await states.all_across_tenants()
        for gauge in (_ok, _seconds):
            gauge.clear()  # a probe that is no longer configured
        for state in found.values():
            if state.deployed:
                _ok.labels(state.name).set(state.status != "bad")
            if state.latency_ms is not None:
                _seconds.labels(state.name).set(state.latency_ms / 1000)

    async def look_at_streams() -> None:
        asked = {"streams": "true", "consumers": "true", "config": "true"}
        answer = await client.get(f"{monitor}/jsz", params=asked, timeout=DEADLINE_SECONDS)
        answer.raise_for_status()
        for stream in _streams(answer.json()):
            _messages.labels(stream["name"]).set(stream["state"]["messages"])
            _bytes.labels(stream["name"]).set(stream["state"]["bytes"])
            _most.labels(stream["name"]).set(max(0, stream["config"]["max_bytes"]))
            for consumer in stream.get("consumer_detail", ()):
                _behind.labels(consumer["name"]).set(consumer["num_pending"] + consumer["num_ack_pending"])

    found = [Measure("probes", look_at_probes, [_ok, _seconds])]
    if monitor:
        found.append(Measure("streams", look_at_streams, [_messages, _bytes, _most, _behind]))
    return found


def _streams(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for account in answer.get("account_details", ()):
        yield from account.get("stream_detail", ())
