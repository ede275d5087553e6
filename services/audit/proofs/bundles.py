"""Bundles on their way to a client, no more at once than a replica may make."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from services.audit.proofs.export import Exporter, Plan, Selection
from services.audit.turns import Turns


@dataclass(frozen=True, slots=True)
class Bundle:
    """What it holds, and its pieces."""

    plan: Plan
    pieces: AsyncGenerator[bytes]

    @property
    def name(self) -> str:
        """A name for the file."""
        return f"audit-{self.plan.selection.from_seq}-{self.plan.to_seq}.jsonl"


class Bundles:
    """Begins bundles. The turn that one takes is held until its pieces have ended or were closed."""

    def __init__(self, exporter: Exporter, turns: Turns) -> None:
        self._exporter = exporter
        self._turns = turns

    async def begin(self, selection: Selection) -> Bundle:
        """Plan a bundle. Raises ExportsBusy, and what `Exporter.plan` raises."""
        plans: list[Plan] = []
        pieces = self._pieces(selection, plans)
        await anext(pieces)
        return Bundle(plans[0], pieces)

    async def _pieces(self, selection: Selection, plans: list[Plan]) -> AsyncGenerator[bytes]:
        """An empty piece once the plan is made, then the bundle."""
        with self._turns.taken():
            plans.append(await self._exporter.plan(selection))
            yield b""
            async with contextlib.aclosing(self._exporter.lines(plans[0])) as lines:
                async for piece in lines:
                    yield piece
