"""Comparing a generation with its owner: a merge of the owner's snapshot with the own rows, in constant memory.

Events are always under way, so a row that differs once may be right. A difference counts if it is there again after
the consumer has caught up with the stream: not whether the row is behind *now*, but whether it is still behind what
the owner had at the first look.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic

from shared.errors import DomainError
from shared.mongo import Document
from shared.projections.generations import Generations
from shared.projections.models import Difference, Findings, S, difference, still_there
from shared.projections.snapshots import Owner, Say

REMEMBERED = 1_000
KEPT = 50
SETTLE = timedelta(seconds=3)
PATIENCE = timedelta(minutes=2)

Behind = Callable[[], Awaitable[int]]
"""How many events the consumer of a projection has not yet handled."""

Hold = Callable[[], Awaitable[None]]
"""Keeps what allows this to go on; raises when it is lost."""


class ConsumerBehind(DomainError):
    status, code, title = 503, "consumer_behind", "The consumer of the projection has not caught up"


@dataclass(frozen=True)
class Look:
    """What one merge saw: the first differences by row, their number by kind, whether there were more."""

    found: dict[str, Difference] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False


@dataclass(frozen=True)
class Comparison(Generic[S]):
    """Compares generations of one projection with its owner. ``settle`` gives the owner's outbox time to publish."""

    generations: Generations[S]
    owner: Owner
    behind: Behind
    say: Say
    settle: timedelta = SETTLE
    patience: timedelta = PATIENCE

    async def run(self, generation: int, hold: Hold) -> Findings:
        """Look, wait for the consumer, look again, and return what was there both times.

        Raises:
            OwnerAway, OwnerRefused: there is nothing to compare with.
            ConsumerBehind: the consumer does not catch up, so that nothing can be said.
        """
        first = await self.look(generation, hold)
        if not first.found:
            return Findings()
        await self._caught_up(hold)
        await asyncio.sleep(self.settle.total_seconds())
        second = await self.look(generation, hold, only=first.found)
        rows = tuple(second.found.values())
        return Findings(dict(second.counts), rows[:KEPT], first.more and bool(rows))

    async def look(self, generation: int, hold: Hold, only: dict[str, Difference] | None = None) -> Look:
        """Merge once; with ``only``, see nothing but those differences that are still there."""
        found: dict[str, Difference] = {}
        counts: Counter[str] = Counter()
        more = False
        async for seen in self._differences(generation, hold):
            if only is not None and (seen.row not in only or not still_there(only[seen.row], seen)):
                continue
            if len(found) < REMEMBERED:
                found[seen.row] = seen
                counts[seen.kind] += 1
            else:
                more = True
        return Look(found, counts, more)

    async def _differences(self, generation: int, hold: Hold) -> AsyncIterator[Difference]:
        async for row in self.generations.outside(generation):
            yield _phantom(row)
        spec = self.generations.spec
        order = spec.order_by
        after: str | None = None
        async for page in self.owner.pages(spec.snapshot, spec.contract, self.say):
            await hold()
            # Read after the owner's page, so that what an event brings in between is no phantom but ahead.
            wanted = {str(row[order]): row for row in map(self.generations.expected, page.states)}
            last = max(wanted, default=after)
            to = None if page.next is None else last
            async for row in self.generations.between(generation, after, to):
                expected = wanted.get(row[order])
                if expected is None or expected["_id"] != row["_id"]:
                    yield _phantom(row)
                    continue
                del wanted[row[order]]
                if (differs := difference(expected, row)) is not None:
                    yield differs
            for expected in wanted.values():
                if (differs := difference(expected, None)) is not None:
                    yield differs
            after = last

    async def _caught_up(self, hold: Hold) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience.total_seconds()
        while (behind := await self.behind()) > 0:
            await hold()
            if loop.time() > deadline:
                consumer = self.generations.spec.consumer
                raise ConsumerBehind(f"{consumer} is {behind} events behind and does not catch up")
            await asyncio.sleep(0.5)


def _phantom(row: Document) -> Difference:
    version = row.get("version")
    return Difference("phantom", str(row["_id"]), version if isinstance(version, int) else None)
