"""Publishes what ``Refusals`` counted, once a minute: one event per address, route and code."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from gateway.events import publish
from gateway.refusals import OTHERS, Refusals, Refused
from shared.bus import Bus, BusUnavailable
from shared.contracts.envelope import Actor, Resource
from shared.contracts.gateway import RequestsRefused
from shared.ids import new_id

EVERY_SECONDS = 60.0
LAST_SECONDS = 2.0
UNKNOWN = "unknown"

_log = structlog.get_logger()


class RefusalReports:
    """A part of the gateway. While NATS is away a minute's counts wait; what more there is goes on being counted."""

    def __init__(self, bus: Bus, refusals: Refusals, every_seconds: float = EVERY_SECONDS) -> None:
        self._bus = bus
        self._refusals = refusals
        self._every = every_seconds
        self._waiting: list[tuple[str, Refused]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run(), name="refusals.report")

    async def close(self) -> None:
        """Report what is left, for as long as a stop can wait."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(BusUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.report()

    async def report(self) -> None:
        """Publish everything counted so far.

        Raises:
            BusUnavailable: not all of it is stored; the rest is kept, under the same ids.
        """
        if not self._waiting:
            self._waiting = [(new_id(), refused) for refused in self._refusals.collect()]
        while self._waiting:
            event_id, refused = self._waiting[0]
            await publish(self._bus, _event(refused), event_id, refused.until)
            self._waiting.pop(0)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.report()
            except BusUnavailable as error:
                _log.warning("refusals.waiting_for_nats", error=str(error))


def _event(refused: Refused) -> RequestsRefused:
    address = None if refused.address == OTHERS else refused.address
    return RequestsRefused(
        actor=Actor(type="external", id=UNKNOWN, ip=address),
        outcome="denied",
        resource=Resource(type="route", id=refused.route),
        route=refused.route,
        code=refused.code,
        count=refused.count,
        since=refused.since,
        until=refused.until,
    )
