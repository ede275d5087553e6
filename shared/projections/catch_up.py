"""What follows an owner and is no projection: it has a history of its own, so it is caught up and never built anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic

from shared.projections.models import S
from shared.projections.snapshots import Owner, Say


@dataclass(frozen=True)
class CatchUp(Generic[S]):
    """Applies the owner's present state where a step was missed; safe to repeat and to interrupt anywhere.

    Attributes:
        follow: the use case of the events, in a transaction of its own; True if the state was news.
    """

    name: str
    owner: str
    snapshot: str
    contract: type[S]
    follow: Callable[[S], Awaitable[bool]]

    async def run(self, owner: Owner, say: Say) -> None:
        """Walk through the snapshot.

        Raises:
            OwnerAway, OwnerRefused: the snapshot cannot be had; what was caught up so far stays.
        """
        rows = news = 0
        async for page in owner.pages(self.snapshot, self.contract, say):
            for state in page.states:
                news += await self.follow(state)
            rows += len(page.states)
        say(f"{self.name}: {rows} looked at, {news} had missed a step and were caught up")
