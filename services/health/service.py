"""Probing everything, and answering from what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.health.models import ProbeState, after, is_up
from services.health.probes import Probe
from services.health.repository import ProbeRepository
from shared.clock import Clock
from shared.leases import Lease

log = structlog.get_logger()

STALE_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class PlatformHealth:
    """Every probe in order; ``live`` of ``deployed`` are not bad."""

    states: tuple[ProbeState, ...]

    @property
    def up(self) -> bool:
        return is_up(list(self.states))

    @property
    def deployed(self) -> int:
        return sum(state.deployed for state in self.states)

    @property
    def live(self) -> int:
        return sum(state.deployed and state.status != "bad" for state in self.states)


class HealthService:
    """Use cases of health."""

    def __init__(
        self, probes: Sequence[Probe], states: ProbeRepository, lease: Lease, clock: Clock, interval: timedelta
    ) -> None:
        self._probes = list(probes)
        self._states = states
        self._lease = lease
        self._clock = clock
        self._interval = interval
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Probe everything at every interval, in one replica at a time."""
        try:
            while True:
                await self._lease.hold()
                await self.look()
                await asyncio.sleep(self._interval.total_seconds())
        finally:
            await self._lease.release()

    async def look(self) -> None:
        """Probe everything once, in parallel, and store what was seen."""
        seen = await asyncio.gather(*(probe.run() for probe in self._probes))
        at = self._clock.now()
        before = await self._states.all_across_tenants()
        states = [after(before.get(p.name), p.name, s, at) for p, s in zip(self._probes, seen, strict=True)]
        for state in states:
            old = before.get(state.name)
            if old is not None and old.status != state.status:
                log.warning("probe.changed", probe=state.name, status=state.status, message=state.message)
        await self._states.save(states)
        await self._states.forget_others([probe.name for probe in self._probes])

    async def platform(self) -> PlatformHealth:
        """Return the state of every probe; looks itself when nobody has looked lately."""
        states = await self._states.all_across_tenants()
        if self._is_stale(states):
            async with self._looking:
                states = await self._states.all_across_tenants()
                if self._is_stale(states):
                    await self.look()
                    states = await self._states.all_across_tenants()
        return PlatformHealth(tuple(states[p.name] for p in self._probes if p.name in states))

    def _is_stale(self, states: dict[str, ProbeState]) -> bool:
        oldest = self._clock.now() - STALE_INTERVALS * self._interval
        known = [states.get(probe.name) for probe in self._probes]
        return any(state is None or state.checked_at < oldest for state in known)
