"""Waiting for a condition with a deadline, instead of sleeping to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], *, seconds: float = 15.0, pause: float = 0.02, what: str = ""
) -> T:
    """Return the first truthy answer of ``look``; an AssertionError is looked at again, until time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    last: object = None
    while True:
        try:
            seen = await look()
            if seen:
                return seen
            last = seen
        except AssertionError as error:
            last = error
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or look!r}; last seen: {last!r}")
        await asyncio.sleep(pause)
