"""What a benchmark is given: how long it may take, and a folder that is gone afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Tally


@dataclass(frozen=True)
class Setting:
    """How much to measure. ``folder`` is private to one benchmark; ``largest`` bounds sizes, where it is given."""

    folder: Path
    quick: bool
    largest: int | None = None

    @property
    def warm_up(self) -> float:
        """Seconds of load before anything counts: V8 takes that long to compile what is hot."""
        return 1.0 if self.quick else 3.0

    @property
    def seconds(self) -> float:
        """Length of a round: short, so that both sides of one meet the same machine."""
        return 0.5 if self.quick else 1.0

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 9

    def sized(self, full: int, quick: int) -> int:
        """Return how many there shall be of something."""
        return quick if self.quick else full


async def alternate(rounds: int, *sides: Callable[[], Awaitable[Tally]]) -> list[list[Tally]]:
    """Run the sides in turn, ``rounds`` times, every other round backwards; return each side's tallies.

    What drifts on the machine meets them alike.
    """
    tallies: list[list[Tally]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for place in order:
            tallies[place].append(await sides[place]())
    return tallies
