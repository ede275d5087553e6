"""Workers end when they are told to, even one that loses a cancellation on its way."""

from __future__ import annotations

import asyncio

import pytest

from shared.tasks import end_tasks

pytestmark = pytest.mark.unit


async def deaf(times: int) -> None:
    """Loses so many cancellations, as a driver under Python 3.11 may."""
    while times:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            times -= 1
    await asyncio.Event().wait()


async def test_a_task_that_loses_a_cancellation_is_asked_again() -> None:
    async def broken() -> None:
        raise RuntimeError("ended before")

    tasks = [asyncio.create_task(deaf(1)), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(tasks)
    assert all(task.done() for task in tasks)


async def test_a_task_that_never_ends_does_not_hold_up_the_end_of_the_process() -> None:
    task = asyncio.create_task(deaf(3))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks([task], within=0.2)
    assert not task.done()
    await end_tasks([task])


async def test_no_tasks_are_ended_at_once() -> None:
    await end_tasks([])
