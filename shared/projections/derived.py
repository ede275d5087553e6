"""What a service makes of the rows of several projections: made anew after any of them was switched.

It is level-triggered: a document says of which generations everything has been made, and where a lap through all of it
stands. So whoever switched may be killed at once, the next one who looks goes on, and nothing has to be told.

Why no handler puts an old row back: a lap begins after the pointers named its generations, and it marks everything with
its number before it looks. A handler's transaction that began before a switch, and so made its part of the old
generation, either committed before the mark, and then the lap sees what it wrote, or writes what has been marked since:
then it conflicts, and repeats with the pointers of now.

Marks are written outside a transaction, since only there a write waits for whoever holds its document. In one it would
be the mark that conflicts, time after time where events about one customer follow each other without a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from shared.errors import Conflict
from shared.leases import Lease, LeaseLost
from shared.mongo import TRANSACTION_SECONDS, Mongo, Transaction, is_unavailable, is_write_conflict, within
from shared.projections.generations import Generations
from shared.projections.snapshots import Say

BATCH = 25
BATCH_SECONDS = 2.0
"""For all attempts at a batch: after that, half of it is tried."""
PATIENCE = timedelta(minutes=10)


class RenewalUnderWay(Conflict):
    code, title = "renewal_under_way", "Another process makes this anew"


@dataclass(frozen=True)
class Derivation:
    """How something is made of projections.

    Attributes:
        ids: the first ids, at most so many, that follow one; in order, of all that the projections or what is made of
            them hold.
        mark: writes the number of the lap to what is there of these ids.
        remake: makes those of these ids anew in a transaction, and returns how many had been otherwise.
    """

    name: str
    of: Sequence[Generations[Any]]
    ids: Callable[[str, int], Awaitable[list[str]]]
    mark: Callable[[Sequence[str], int], Awaitable[None]]
    remake: Callable[[Sequence[str], Transaction], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Lap:
    """A way through all ids; ``of`` is the generation of each projection, ``after`` the id that was done last."""

    number: int
    of: Mapping[str, int]
    after: str = ""
    done: int = 0
    otherwise: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Of which generations everything is made (one not named: of the first), and the lap that is under way."""

    made_of: Mapping[str, int] = field(default_factory=dict)
    laps: int = 0
    lap: Lap | None = None

    def is_of(self, generations: Mapping[str, int]) -> bool:
        return all(self.made_of.get(name, 1) == number for name, number in generations.items())


class Renewal:
    """Makes it anew where that is due; one process at a time, by a lease that is in every step."""

    def __init__(
        self, mongo: Mongo, derivation: Derivation, lease: Lease, patience: timedelta = PATIENCE, batch: int = BATCH
    ) -> None:
        self._derivation = derivation
        self._rows = mongo.db["derivations"]
        self._transactions = mongo.transactions
        self._lease = lease
        self._patience = patience
        self._batch = batch

    async def due(self) -> bool:
        """Tell whether a projection has been switched since everything was made, or a lap was left."""
        progress = await self._progress()
        return progress.lap is not None or not progress.is_of(await self._generations())

    async def run(self, say: Say, *, anyway: bool = False) -> None:
        """Go through everything until it is made of the current generations; ``anyway``: even if it was.

        Raises:
            RenewalUnderWay: another process did not end within the patience.
            LeaseLost: this one slept so long that another took over; that one goes on.
        """
        await self._take()
        try:
            while (lap := await self._begin(anyway)) is not None:
                if lap.done:
                    say(f"{self._derivation.name}: going on after {lap.done}")
                lap = await self._walk(lap)
                say(f"{self._derivation.name}: {lap.done} looked at, {lap.otherwise} renewed")
                anyway = False
        finally:
            await self._lease.release()

    async def _take(self) -> None:
        deadline = time.monotonic() + self._patience.total_seconds()
        while not await self._lease.acquire():
            if time.monotonic() > deadline:
                raise RenewalUnderWay(f"wait for the renewal of {self._derivation.name} that is under way")
            await asyncio.sleep(0.2)

    async def _begin(self, anyway: bool) -> Lap | None:
        """Return the lap to go: one that was left and still is of use, or a new one; None if nothing is due."""

        async def body(tx: Transaction) -> Lap | None:
            await self._lease.assert_held(tx)
            progress, current = await self._progress(tx), await self._generations(tx)
            left = progress.lap
            if left is not None and left.of == current and not anyway:
                return left
            if left is None and progress.is_of(current) and not anyway:
                return None
            lap = Lap(progress.laps + 1, current)
            await self._keep(Progress(progress.made_of, lap.number, lap), tx)
            return lap

        return await self._transactions.run(body)

    async def _walk(self, lap: Lap) -> Lap:
        while True:
            if not await self._lease.acquire():
                raise LeaseLost(f"the renewal of {self._derivation.name} has passed to another process")
            ids = await self._derivation.ids(lap.after, self._batch)
            if not ids:
                await self._end(lap)
                return lap
            lap = await self._part(lap, ids)

    async def _part(self, lap: Lap, ids: Sequence[str]) -> Lap:
        """Go on by as many of ``ids`` as get through: events that write to some all the time hold up a whole batch."""
        while len(ids) > 1:
            try:
                return await self._step(lap, ids, BATCH_SECONDS)
            except Exception as error:
                if not (is_write_conflict(error) or is_unavailable(error)):
                    raise
                ids = ids[: len(ids) // 2]
        return await self._step(lap, ids)

    async def _step(self, lap: Lap, ids: Sequence[str], seconds: float = TRANSACTION_SECONDS) -> Lap:
        async def body(tx: Transaction) -> Lap:
            otherwise = await self._derivation.remake(ids, tx)
            await self._lease.assert_held(tx)
            progress = await self._progress(tx)
            gone = Lap(lap.number, lap.of, ids[-1], lap.done + len(ids), lap.otherwise + otherwise)
            await self._keep(Progress(progress.made_of, progress.laps, gone), tx)
            return gone

        with within(seconds):
            await self._derivation.mark(ids, lap.number)
        return await self._transactions.run(body, seconds=seconds)

    async def _end(self, lap: Lap) -> None:
        async def body(tx: Transaction) -> None:
            await self._lease.assert_held(tx)
            await self._keep(Progress(lap.of, lap.number), tx)

        await self._transactions.run(body)

    async def _generations(self, tx: Transaction | None = None) -> dict[str, int]:
        return {each.spec.name: (await each.pointer(tx)).current for each in self._derivation.of}

    async def _progress(self, tx: Transaction | None = None) -> Progress:
        row = await self._rows.find_one({"_id": self._derivation.name}, {"_id": 0}, session=tx)
        if row is None:
            return Progress()
        return Progress(row["made_of"], row["laps"], None if row["lap"] is None else Lap(**row["lap"]))

    async def _keep(self, progress: Progress, tx: Transaction) -> None:
        await self._rows.replace_one({"_id": self._derivation.name}, asdict(progress), upsert=True, session=tx)
