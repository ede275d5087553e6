"""Answers that may be a few seconds old: found once for all who ask at the same time, and kept for that long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Finds answers by ``find`` and gives the same for ``seconds``, counted from when the search for it began."""

    def __init__(
        self, seconds: float, find: Callable[[K], Awaitable[V]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._find = find
        self._now = now
        self._known: dict[K, tuple[float, asyncio.Task[V]]] = {}

    async def get(self, key: K) -> V:
        """Return the answer; raises what ``find`` raised, to all who waited for it, and keeps no failure."""
        now = self._now()
        known = self._known.get(key)
        if known is None or now - known[0] > self._seconds:
            self._known = {k: entry for k, entry in self._known.items() if now - entry[0] <= self._seconds}
            known = self._known[key] = (now, asyncio.create_task(self._search(key)))
        if known[1].done():
            return known[1].result()
        # Shielded, because it is found for others, too: one who gives up waiting must not end their search.
        return await asyncio.shield(known[1])

    async def _search(self, key: K) -> V:
        try:
            return await self._find(key)
        except BaseException:
            self._known.pop(key, None)
            raise
