"""What the health API gives."""

from __future__ import annotations

from typing import Literal

from services.health.models import PLANNED, ProbeState, ProbeStatus
from services.health.service import PlatformHealth
from shared.schemas import Timestamp, View


class PublicHealth(View):
    status: Literal["up", "down"]


class ProbeView(View):
    """One probe. ``latencyMs`` in milliseconds; ``uptime`` in parts per million, null until there is history."""

    name: str
    status: ProbeStatus
    latency_ms: int | None
    message: str | None
    since: Timestamp
    checked_at: Timestamp
    uptime: int | None = None


class PlatformView(View):
    """``live`` of ``deployed`` probes are not bad; what is not deployed counts in neither."""

    status: Literal["up", "down"]
    live: int
    deployed: int
    probes: list[ProbeView]
    planned: list[str]


def public_view(health: PlatformHealth) -> PublicHealth:
    """Return what everybody may know: up or not."""
    return PublicHealth(status="up" if health.up else "down")


def platform_view(health: PlatformHealth) -> PlatformView:
    """Return what operators see."""
    return PlatformView(
        status="up" if health.up else "down",
        live=health.live,
        deployed=health.deployed,
        probes=[_probe(state) for state in health.states],
        planned=list(PLANNED),
    )


def _probe(state: ProbeState) -> ProbeView:
    return ProbeView(
        name=state.name,
        status=state.status,
        latency_ms=state.latency_ms,
        message=state.message,
        since=state.since,
        checked_at=state.checked_at,
    )
