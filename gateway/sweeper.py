"""Deadlines on one coarse timer.

A timer per request is armed and disarmed a few times for each request and fires almost never. Connections
note instead *since when* they wait, and one sweep every quarter of a second finds those that waited too
long: a deadline is kept to within one interval, and a request pays nothing for it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Sweepable(Protocol):
    """Something that waits and has deadlines."""

    def sweep(self, now: float) -> None:
        """Give up whatever has waited too long; ``now`` is the event loop's clock, in seconds."""
        ...


class Sweeper:
    """Calls ``sweep`` of everything it watches, every ``interval`` seconds."""

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._watched: set[Sweepable] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start sweeping on the running loop."""
        self._arm(asyncio.get_running_loop())

    def stop(self) -> None:
        """Stop sweeping; nothing times out any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch(self, item: Sweepable) -> None:
        """Sweep ``item`` from now on."""
        self._watched.add(item)

    def forget(self, item: Sweepable) -> None:
        """Sweep ``item`` no more; unknown items are ignored."""
        self._watched.discard(item)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._interval, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._arm(loop)
        now = loop.time()
        # A sweep may close connections, which then leave the set.
        for item in tuple(self._watched):
            item.sweep(now)
