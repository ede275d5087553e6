"""Building a projection anew, while it is read and written: fill a new generation, compare it, switch to it.

Every step is recorded in the pointer before the next one begins, so that a rebuild which was killed goes on where it
was when it is started again. One at a time works on a projection, by a lease whose token is in every step.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Protocol

from shared.errors import Conflict
from shared.leases import Lease, LeaseLost
from shared.mongo import DATABASE_UNAVAILABLE
from shared.projections.compare import Comparison, Look
from shared.projections.generations import Generations
from shared.projections.models import Building, Findings, S, in_words
from shared.projections.snapshots import Owner, Say
from shared.tasks import end_tasks

LOOKS = 4
PAUSE_SECONDS = 1.0
SAY_EVERY_SECONDS = 2.0


class RebuildUnderWay(Conflict):
    code, title = "rebuild_under_way", "Another rebuild works on this projection"


class RebuildDiffers(Conflict):
    code, title = "rebuild_differs", "The new generation does not agree with its owner"


class Rebuilding(Protocol):
    """What `rebuild` does for one name: a projection anew, or the missed steps of something that is none."""

    async def run(self) -> None: ...


@dataclass(frozen=True)
class Rebuild(Generic[S]):
    """Rebuilds one projection.

    Attributes:
        patience: how long it waits for another one to end; longer than the lease of one that was killed.
        renew_every: how often the lease is renewed, whatever is waited for.
    """

    generations: Generations[S]
    owner: Owner
    lease: Lease
    say: Say
    patience: timedelta = timedelta(seconds=15)
    renew_every: timedelta = timedelta(seconds=3)

    async def run(self) -> None:
        """Build, compare and switch; whoever reads meanwhile reads the old generation.

        Raises:
            RebuildUnderWay: another one works on it.
            OwnerAway, OwnerRefused: the snapshot cannot be had; what is built so far is kept for the next attempt.
            RebuildDiffers: the new generation holds what the owner does not; it is given up.
            LeaseLost: this one slept so long that another took over.
        """
        await self._take()
        renewing = asyncio.create_task(self._renew())
        try:
            building = await self.generations.begin(self.lease)
            self._say(f"building generation {building.generation} beside the current one")
            building = await self._fill(building, building.cursor)
            await self._agree(building)
            pointer = await self.generations.switch(self.lease, building)
            rows = await self.generations.count(pointer.current)
            self._say(f"switched to generation {pointer.current}: {rows} rows")
        finally:
            await end_tasks([renewing])
            await self.lease.release()

    async def _renew(self) -> None:
        """Keep the lease while an owner is waited for; one that is lost is noticed at the next step."""
        while True:
            await asyncio.sleep(self.renew_every.total_seconds())
            with contextlib.suppress(*DATABASE_UNAVAILABLE):
                await self.lease.acquire()

    async def _take(self) -> None:
        deadline = time.monotonic() + self.patience.total_seconds()
        while not await self.lease.acquire():
            if time.monotonic() > deadline:
                raise RebuildUnderWay(f"wait for the rebuild of {self.generations.spec.name} that is under way")
            await asyncio.sleep(0.2)

    async def _hold(self) -> None:
        if not await self.lease.acquire():
            raise LeaseLost(f"the rebuild of {self.generations.spec.name} has passed to another process")

    async def _fill(self, building: Building, cursor: str | None) -> Building:
        if building.rows and cursor is not None:
            self._say(f"going on after {building.rows} rows")
        started, first, said = time.monotonic(), building.rows, time.monotonic()
        spec = self.generations.spec
        async for page in self.owner.pages(spec.snapshot, spec.contract, self._say, cursor):
            await self._hold()
            building = await self.generations.fill(self.lease, building, page.states, page.next)
            if time.monotonic() - said > SAY_EVERY_SECONDS:
                said = time.monotonic()
                self._say(f"{building.rows} rows, {_rate(building.rows - first, started)} rows/s")
        self._say(f"{building.rows} rows taken over, {_rate(building.rows - first, started)} rows/s")
        return building

    async def _agree(self, building: Building) -> None:
        """Return once a comparison finds nothing, or nothing but what events have yet to bring.

        Between two looks the snapshot is taken over again, so that no consumer is waited for: it may be stopped.
        """
        comparison = Comparison(self.generations, self.owner, _nothing_behind, self._say)
        before: Look | None = None
        for look in range(LOOKS):
            only = None if before is None else before.found
            found = await comparison.look(building.generation, self._hold, only)
            if not found.found:
                self._say("compared with its owner: no difference")
                return
            self._say(f"look {look + 1}: {in_words(Findings(found.counts, more=found.more))}")
            before = found
            await self._fill(Building(building.generation, True), None)
            await asyncio.sleep(PAUSE_SECONDS)
        await self.generations.abandon(self.lease, building)
        counts = in_words(Findings(before.counts)) if before is not None else ""
        raise RebuildDiffers(f"not switched: {counts} against {self.owner.name} after {LOOKS} looks")

    def _say(self, text: str) -> None:
        self.say(f"{self.generations.spec.name}: {text}")


async def _nothing_behind() -> int:
    return 0


def _rate(rows: int, started: float) -> int:
    return round(rows / max(0.001, time.monotonic() - started))
