"""Tasks in MongoDB: a queue in which a task is held by one process at a time, by the database's clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import get_args

from pymongo import ReturnDocument

from services.tenant.people.models import Place
from services.tenant.people.repository import InviteInProgress
from services.tenant.people.tasks.models import HOLD, Leftover, Task, TaskKind, TaskLost
from shared.clock import Clock
from shared.contracts.envelope import Actor
from shared.ids import new_id
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction

KEPT = timedelta(days=7)

INDEXES: Mapping[str, Sequence[Index]] = {
    "people_tasks": [
        Index([("state", 1), ("next_at", 1)]),
        Index([("person", 1), ("state", 1)]),
        Index([("done_at", 1)], {"expireAfterSeconds": int(KEPT.total_seconds())}),
    ],
}


class TaskRepository:
    """The collection ``people_tasks``. A task that is done stays for a week, without who asked for it."""

    def __init__(self, mongo: Mongo, clock: Clock) -> None:
        self._tasks = mongo.db["people_tasks"]
        self._clock = clock

    async def open(self, task: Task, tx: Transaction, *, held: bool = False) -> Task:
        """Record an intent and return it as recorded; ``held`` keeps it from the workers, because the caller goes on.

        The same intent again is counted, and whoever works on it at this moment keeps it: two at once could leave
        the other side with the older wish.

        Raises:
            InviteInProgress: the same invitation or resend is open already.
        """
        query: Document = {"_id": task.id}
        if task.kind in {"invite", "resend"}:
            query["state"] = {"$ne": "open"}
        try:
            opened = await self._tasks.find_one_and_update(
                query,
                [{"$set": self._intent(task, held=held)}, {"$unset": "done_at"}],
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=tx,
            )
        except DuplicateKey as error:
            raise InviteInProgress("it is under way: list the people to see how far it is") from error
        return _from(opened or {})

    def _intent(self, task: Task, *, held: bool) -> Document:
        row: Document = {
            "kind": task.kind,
            "person": task.person,
            "place": None if task.place is None else {"kind": task.place.kind, "slug": task.place.slug},
            "role": task.role,
            "actor": None if task.actor is None else task.actor.model_dump(),
            "state": "open",
            "attempts": 1 if held else 0,
            "reason": "",
            "created_at": self._clock.now(),
        }
        if task.leftover is not None:
            row["leftover"] = asdict(task.leftover)
        # An update by pipeline takes values for expressions, so what people wrote goes in as literals.
        change: Document = {name: {"$literal": value} for name, value in row.items()}
        change["wanted"] = {"$add": [{"$ifNull": ["$wanted", 0]}, 1]}
        change["next_at"] = "$$NOW"
        if task.kind in {"invite", "resend"}:
            return change | {"holder": task.holder, "until": _from_now(HOLD if held else timedelta(0))}
        kept = {"holder": task.holder, "until": "$$NOW"}
        return change | {name: {"$ifNull": [f"${name}", value]} for name, value in kept.items()}

    async def take_due(self, kinds: Collection[TaskKind] = get_args(TaskKind)) -> Task | None:
        """Take the task of these kinds that is due longest, and hold it."""
        due = {"$and": [{"$lte": ["$next_at", "$$NOW"]}, {"$lte": ["$until", "$$NOW"]}]}
        row = await self._tasks.find_one_and_update(
            {"state": "open", "kind": {"$in": list(kinds)}, "$expr": due},
            [
                {
                    "$set": {
                        "holder": new_id(),
                        "until": _from_now(HOLD),
                        "attempts": {"$add": ["$attempts", 1]},
                    }
                }
            ],
            sort=[("next_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return None if row is None else _from(row)

    async def finish(self, task: Task, tx: Transaction) -> None:
        """Record that the intent is fulfilled; if it was expressed again meanwhile, it stays open and free.

        Raises:
            TaskLost: somebody else holds it, or it was removed.
        """
        row = await self._tasks.find_one({"_id": task.id, "holder": task.holder, "state": "open"}, session=tx)
        if row is None:
            raise TaskLost("whoever holds it now finishes it")
        done: list[Document] = [
            {"$set": {"state": "done", "done_at": "$$NOW", "until": "$$NOW", "reason": ""}},
            {"$unset": ["actor", "leftover"]},
        ]
        again: list[Document] = [{"$set": {"until": "$$NOW", "next_at": "$$NOW", "attempts": 0}}]
        change = done if row["wanted"] == task.wanted else again
        await self._tasks.update_one({"_id": task.id}, change, session=tx)

    async def postpone(self, task: Task, reason: str, delay: timedelta) -> None:
        """Give a task back, to be tried again after ``delay``; nothing happens if somebody else holds it."""
        change = [{"$set": {"next_at": _from_now(delay), "until": "$$NOW", "reason": {"$literal": reason}}}]
        await self._tasks.update_one({"_id": task.id, "holder": task.holder, "state": "open"}, change)

    async def remove_invites(self, person: str, tx: Transaction) -> None:
        """Forget the invitations of a person whose record goes."""
        await self._tasks.delete_many({"person": person, "kind": "invite"}, session=tx)

    async def remove_all(self, person: str, tx: Transaction) -> None:
        """Forget whatever was to be told about a person; whoever works on it finds it taken away."""
        await self._tasks.delete_many({"person": person}, session=tx)

    async def backlog(self) -> dict[TaskKind, tuple[int, timedelta]]:
        """Return how many tasks of each kind are open, and for how long the oldest has been; not those that nobody
        does anything for."""
        steps: list[Document] = [
            {"$match": {"state": "open", "kind": {"$ne": "resend"}}},
            {"$group": {"_id": "$kind", "count": {"$sum": 1}, "oldest": {"$min": "$created_at"}}},
        ]
        now = self._clock.now()
        return {
            row["_id"]: (int(row["count"]), max(now - row["oldest"], timedelta()))
            async for row in await self._tasks.aggregate(steps)
        }

    async def reasons(self, people: Sequence[str]) -> dict[str, str]:
        """Return who of ``people`` has something open, and why it has not happened yet (empty: not tried yet)."""
        query = {"person": {"$in": list(people)}, "state": "open", "kind": {"$ne": "resend"}}
        rows = self._tasks.find(query, {"person": 1, "reason": 1})
        return {row["person"]: row["reason"] async for row in rows}


def _from_now(delay: timedelta) -> Document:
    return {"$add": ["$$NOW", int(delay.total_seconds() * 1000)]}


def _from(row: Document) -> Task:
    return Task(
        kind=row["kind"],
        person=row["person"],
        place=None if row["place"] is None else Place(**row["place"]),
        role=row["role"],
        actor=None if row.get("actor") is None else Actor.model_validate(row["actor"]),
        wanted=row["wanted"],
        attempts=row["attempts"],
        holder=row["holder"],
        reason=row["reason"],
        created_at=row["created_at"],
        leftover=_leftover(row.get("leftover")),
    )


def _leftover(row: Document | None) -> Leftover | None:
    return None if row is None else Leftover(row["account"], tuple(row["subjects"]))
