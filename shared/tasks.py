"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 1.0


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], within: float = 10.0) -> None:
    """Cancel ``tasks`` and return once all have ended, however they ended, or after ``within`` seconds.

    A task that still runs after a second is asked again: until Python 3.12, ``asyncio.wait_for`` swallows a
    cancellation that meets the end of what it waits for (python/cpython#86296), and the MongoDB driver waits for
    every write to its socket that way.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    running = set(tasks)
    while running and (left := deadline - loop.time()) > 0:
        for task in running:
            task.cancel()
        ended, running = await asyncio.wait(running, timeout=min(_AGAIN_SECONDS, left))
        await asyncio.gather(*ended, return_exceptions=True)
