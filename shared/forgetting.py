"""Forgetting a person who was erased, in what every service keeps alike: events in the outbox and stored answers.

The tenant service does it before it answers. Every other one hears ``user.erased.v1`` through a consumer of its own,
and forgets in the transaction that claims the event: told once is forgotten once, and an outage only delays it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import orjson

from shared.bus import Bus
from shared.clock import Clock
from shared.contracts.envelope import CloudEvent, personal_paths
from shared.contracts.registry import contract_for
from shared.contracts.user import UserErased
from shared.inbox import EventConsumer, Handler
from shared.mongo import Mongo, Transaction

_NAMING = ("email", "name")


class Forgetting:
    """The collections ``outbox`` and ``idempotency``, as far as they name a person."""

    def __init__(self, mongo: Mongo) -> None:
        self._events = mongo.db["outbox"]
        self._answers = mongo.db["idempotency"]

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply ``user.erased.v1``; nothing else comes here."""
        erased = UserErased.model_validate(event.data)
        await self.forget_in_events(erased.resource.id, tx)
        await self.forget_in_answers([erased.resource.id], tx)

    async def forget_in_events(self, person: str, tx: Transaction | None = None) -> None:
        """Blank what is personal of a person in events, told or not; one not told yet is still told."""
        acted = {"envelope.data.actor.id": person, "envelope.data.actor.type": "user"}
        query = {"$or": [{"aggregate": f"users/{person}"}, acted]}
        async for row in self._events.find(query, {"type": 1, "envelope.data": 1}, session=tx):
            data = row["envelope"]["data"]
            if forget_in_event(row["type"], data, person):
                await self._events.update_one({"_id": row["_id"]}, {"$set": {"envelope.data": data}}, session=tx)

    async def forget_in_answers(self, people: Collection[str], tx: Transaction | None = None) -> None:
        """Blank stored answers that are about one of ``people``. Reads all answers of a day."""
        async for row in self._answers.find({"answer": {"$ne": None}}, {"answer.body": 1}, session=tx):
            body = forget_in_answer(bytes(row["answer"]["body"]), people)
            if body is not None:
                change = {"$set": {"answer.body": body}}
                await self._answers.update_one({"_id": row["_id"]}, change, session=tx)


def hearing_erasures(
    bus: Bus, mongo: Mongo, clock: Clock, service: str, *, also: Handler | None = None
) -> Callable[[], Awaitable[None]]:
    """Return the task in which ``service`` forgets people, for the list of its tasks; ``also`` forgets what it alone
    keeps, in the same transaction."""

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        await Forgetting(mongo).handle(event, tx)
        if also is not None:
            await also(event, tx)

    async def hear() -> None:
        # Made anew at each start of the worker: what it pulled with may not outlive it.
        await EventConsumer(bus, f"{service}-erasures", mongo, handle, clock).run()

    return hear


def forget_in_event(event_type: str, envelope_data: dict[str, Any], person: str) -> bool:
    """Take what is personal of ``person`` out of an event's data, in place; return whether there was anything.

    Somebody else who acted on them keeps their name, and so does somebody on whom they acted.
    """
    contract = contract_for(event_type)
    if contract is None:
        return False
    acted = _is(envelope_data.get("actor"), person)
    suffered = _is(envelope_data.get("resource"), person)
    found = False
    for path in personal_paths(contract):
        if acted if path[0] == "actor" else suffered:
            found |= blank(envelope_data, path)
    return found


def forget_in_answer(body: bytes, people: Collection[str]) -> bytes | None:
    """Return a stored answer without what is personal of ``people``; None if it holds nothing of them."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict) or not {answer.get("id"), answer.get("userId")} & set(people):
        return None
    blank = {name: "" for name in _NAMING if name in answer}  # as they stand beside a person who was erased
    return orjson.dumps({name: value for name, value in {**answer, **blank}.items() if name != "subject"})


def _is(member: Any, person: str) -> bool:
    return isinstance(member, dict) and member.get("type") in {"user", "person"} and member.get("id") == person


def blank(node: Any, path: tuple[str, ...], only: str | None = None) -> bool:
    """Set what lies at ``path`` to null, if it is ``only``; ``*`` stands for every element or value."""
    head, *rest = path
    keys: list[Any] = []
    if isinstance(node, dict):
        keys = list(node) if head == "*" else [head] if head in node else []
    elif isinstance(node, list) and head == "*":
        keys = list(range(len(node)))
    found = False
    for key in keys:
        if rest:
            found |= blank(node[key], tuple(rest), only)
        elif node[key] is not None and only in {None, str(node[key]).casefold()}:
            node[key] = None
            found = True
    return found
