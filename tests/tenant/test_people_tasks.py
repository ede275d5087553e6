"""The queue of intents: one worker at a time, a result only under the newest token, nothing forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.tenant.people.models import PLATFORM
from services.tenant.people.repository import InviteInProgress
from services.tenant.people.tasks.models import FIRST_PAUSE, LONGEST_PAUSE, Task, TaskLost, pause
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.people.tasks.worker import TaskWorker
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.mongo import Mongo, Transaction
from tests.support.waiting import eventually

ANNA = Task("activity", "anna")


@pytest.fixture
def tasks(mongo: Mongo) -> TaskRepository:
    return TaskRepository(mongo, SystemClock())


async def opened(mongo: Mongo, tasks: TaskRepository, task: Task, *, held: bool = False) -> Task:
    async def body(tx: Transaction) -> Task:
        return await tasks.open(task, tx, held=held)

    return await mongo.transactions.run(body)


async def finish(mongo: Mongo, tasks: TaskRepository, task: Task) -> None:
    async def body(tx: Transaction) -> None:
        await tasks.finish(task, tx)

    await mongo.transactions.run(body)


async def hold_is_over(mongo: Mongo) -> None:
    await mongo.db["people_tasks"].update_many({}, [{"$set": {"until": "$$NOW"}}])


async def test_a_task_is_taken_by_one_at_a_time(mongo: Mongo, tasks: TaskRepository) -> None:
    await opened(mongo, tasks, ANNA)
    taken = await asyncio.gather(*(tasks.take_due() for _ in range(5)))
    assert len([task for task in taken if task is not None]) == 1


async def test_a_request_keeps_the_task_that_it_goes_on_with(mongo: Mongo, tasks: TaskRepository) -> None:
    invite = await opened(mongo, tasks, Task("invite", "anna", PLATFORM, "operator"), held=True)
    assert await tasks.take_due() is None
    with pytest.raises(InviteInProgress):
        await opened(mongo, tasks, Task("invite", "anna", PLATFORM, "operator"))
    await hold_is_over(mongo)
    successor = await tasks.take_due()
    assert successor is not None
    with pytest.raises(TaskLost):
        await finish(mongo, tasks, invite)
    await finish(mongo, tasks, successor)
    assert await tasks.reasons(["anna"]) == {}
    again = await opened(mongo, tasks, Task("invite", "anna", PLATFORM, "operator"))
    assert again.wanted == 2


async def test_what_is_wanted_again_during_an_attempt_stays_open_and_with_its_holder(
    mongo: Mongo, tasks: TaskRepository
) -> None:
    await opened(mongo, tasks, ANNA)
    working = await tasks.take_due()
    assert working is not None
    await opened(mongo, tasks, ANNA)
    assert await tasks.take_due() is None
    await finish(mongo, tasks, working)
    later = await tasks.take_due()
    assert later is not None
    assert later.wanted == 2
    await finish(mongo, tasks, later)
    assert await tasks.take_due() is None


async def test_a_postponed_task_waits_and_shows_its_reason(mongo: Mongo, tasks: TaskRepository) -> None:
    await opened(mongo, tasks, ANNA)
    first = await tasks.take_due()
    assert first is not None
    await tasks.postpone(first, "authentik_busy", timedelta(hours=1))
    assert await tasks.take_due() is None
    assert await tasks.reasons(["anna", "bert"]) == {"anna": "authentik_busy"}


async def test_who_asked_is_forgotten_when_it_is_done(mongo: Mongo, tasks: TaskRepository) -> None:
    await opened(mongo, tasks, ANNA)
    task = await tasks.take_due()
    assert task is not None
    await finish(mongo, tasks, task)
    row = await mongo.db["people_tasks"].find_one({"_id": ANNA.id})
    assert row is not None
    assert (row["state"], "actor" in row, "done_at" in row) == ("done", False, True)


def test_pauses_double_up_to_a_limit_and_leave_half_to_chance() -> None:
    assert [pause(n, 1.0).total_seconds() for n in (1, 2, 3)] == [FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]
    assert pause(3, 0.0) == pause(3, 1.0) / 2
    assert pause(10_000, 1.0).total_seconds() == LONGEST_PAUSE


async def test_a_worker_survives_whatever_a_task_does_and_waits_as_long_as_it_is_told(
    mongo: Mongo, tasks: TaskRepository
) -> None:
    async def busy(_: Task) -> None:
        raise Unavailable("later", retry_after=3_600)

    async def broken(_: Task) -> None:
        raise RuntimeError("a mistake of ours")

    async def done(task: Task) -> None:
        await finish(mongo, tasks, task)

    for task in (ANNA, Task("groups", "bert"), Task("resend", "carl")):
        await opened(mongo, tasks, task)
    worker = TaskWorker(mongo, tasks, {"activity": busy, "groups": broken, "resend": done})
    running = asyncio.create_task(worker.run())

    async def seen() -> bool:
        done_ones = await mongo.db["people_tasks"].count_documents({"state": "done"})
        return done_ones == 1 and await tasks.reasons(["anna", "bert"]) == {
            "anna": "unavailable",
            "bert": "internal_error",
        }

    await eventually(seen)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    row = await mongo.db["people_tasks"].find_one({"_id": ANNA.id})
    assert row is not None
    assert row["next_at"] - SystemClock().now() > timedelta(minutes=55)
