"""What waits and what is left, looked at now and then by every replica.

A gauge that only its writer sets keeps its last value when the writer stops writing: a relay that lost its lease would
tell of a backlog for ever, one that restarted of none. So what lies in the database is measured by everybody, and what
cannot be measured now is taken back instead of being told as it was.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge

from shared.bus import BusUnavailable
from shared.mongo import is_unavailable

log = structlog.get_logger()

EVERY_SECONDS = 10.0

_failures = Counter("dezky_measurement_failures_total", "Looks that saw nothing", ["service", "measure"])


@dataclass(frozen=True, slots=True)
class Measure:
    """One look, which sets ``gauges``; its own calls bound how long it takes.

    Attributes:
        every: seconds between two looks; longer for what costs more.
    """

    name: str
    look: Callable[[], Awaitable[None]]
    gauges: Sequence[Gauge]
    every: float = EVERY_SECONDS

    def forget(self) -> None:
        """Take back what the gauges say."""
        for gauge in self.gauges:
            withdraw(gauge)


def withdraw(gauge: Gauge) -> None:
    """Make a gauge say nothing: no series where it has labels, else NaN, which no alert compares true with."""
    try:
        gauge.set(math.nan)
    except ValueError:  # it has labels
        gauge.clear()


class Measuring:
    """A service's measures, one after the other; ``run`` is one of its workers."""

    def __init__(self, service: str, measures: Sequence[Measure]) -> None:
        self._service = service
        self._measures = tuple(measures)
        self._due = {measure.name: 0.0 for measure in measures}
        for measure in measures:
            _failures.labels(service, measure.name)

    async def run(self) -> None:
        """Look until cancelled; whatever cannot be looked at, the others are."""
        while True:
            await self.tick()
            await asyncio.sleep(EVERY_SECONDS)

    async def tick(self) -> None:
        """Take the looks that are due."""
        for measure in self._measures:
            if time.monotonic() >= self._due[measure.name]:
                self._due[measure.name] = time.monotonic() + measure.every
                await self._look(measure)

    async def _look(self, measure: Measure) -> None:
        try:
            await measure.look()
        except Exception as error:
            # The loop must survive, and a number that nobody has seen is none.
            measure.forget()
            _failures.labels(self._service, measure.name).inc()
            if not isinstance(error, BusUnavailable) and not is_unavailable(error):
                log.exception("measure.failed", measure=measure.name)
