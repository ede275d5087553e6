"""Refusals of unknown callers, summarised: a scan of a thousand requests is one fact, not a thousand.

Counts per address, route and code collect for a minute and are then taken away as a whole, to be published as
``gateway.requests_refused.v1``. Whatever a caller can vary is bounded: beyond the capacity, further addresses count
together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.clock import Clock

CAPACITY = 10_000
OTHERS = "others"
"""Stands for the addresses beyond the capacity."""


@dataclass(slots=True)
class Refused:
    """How often one address was refused on one route with one code, and when first and last."""

    address: str
    route: str
    code: str
    count: int
    since: datetime
    until: datetime


class Refusals:
    """Collects refusals between two collections."""

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self._clock: Callable[[], datetime] = clock.now
        self._capacity = capacity
        self._counts: dict[tuple[str, str, str], Refused] = {}

    def add(self, address: str, route: str, code: str) -> None:
        """Count one refusal. ``route`` is a pattern of the table, never a path."""
        now = self._clock()
        known = self._counts.get((address, route, code))
        if known is None and len(self._counts) >= self._capacity:
            address = OTHERS
            known = self._counts.get((address, route, code))
        if known is None:
            self._counts[address, route, code] = Refused(address, route, code, 1, now, now)
        else:
            known.count += 1
            known.until = now

    def collect(self) -> list[Refused]:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, {}
        return list(counts.values())
