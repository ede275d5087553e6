"""Forgetting a person who was erased, in what every service keeps alike: events in the outbox and stored answers.

The tenant service does it before it answers. Every other one hears ``user.erased.v1`` through a consumer of its own,
forgets in the transaction that claims the event, and says so in the same one: told once is forgotten and answered once,
and an outage only delays it. An answer holds no more of the person than their id, so nobody has to forget it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import orjson

from shared.actors import system
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts.envelope import CloudEvent, PersonResource, personal_paths
from shared.contracts.forgetting import BY_SERVICE, PersonForgotten
from shared.contracts.registry import contract_for
from shared.contracts.user import UserErased
from shared.inbox import EventConsumer, Handler
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox
from shared.topology import BY_NAME

ACTOR = system("forgetting")
_NAMING = ("email", "name")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many events of an outbox, and how many stored answers, held something of a person and do not any more."""

    events: int
    answers: int


class Forgetting:
    """The collections ``outbox`` and ``idempotency``, as far as they name a person."""

    def __init__(self, mongo: Mongo) -> None:
        self._events = mongo.db["outbox"]
        self._answers = mongo.db["idempotency"]

    async def forget(self, person: str, tx: Transaction) -> Forgotten:
        """Blank what is personal of a person in both; a second time finds nothing."""
        events = await self.forget_in_events(person, tx)
        answers = await self.forget_in_answers([person], tx)
        return Forgotten(events, answers[person])

    async def forget_in_events(self, person: str, tx: Transaction | None = None) -> int:
        """Blank what is personal of a person in events, told or not; one not told yet is still told.

        Return in how many there was something.
        """
        acted = {"envelope.data.actor.id": person, "envelope.data.actor.type": "user"}
        query = {"$or": [{"aggregate": f"users/{person}"}, acted]}
        blanked = 0
        async for row in self._events.find(query, {"type": 1, "envelope.data": 1}, session=tx):
            data = row["envelope"]["data"]
            if forget_in_event(row["type"], data, person):
                change = {"$set": {"envelope.data": data}}
                # Of two who look at once both find it, and one changes it.
                blanked += (await self._events.update_one({"_id": row["_id"]}, change, session=tx)).modified_count
        return blanked

    async def forget_in_answers(self, people: Collection[str], tx: Transaction | None = None) -> Counter[str]:
        """Blank stored answers that are about one of ``people``; return of whom how many. Reads all of a day."""
        blanked: Counter[str] = Counter()
        async for row in self._answers.find({"answer": {"$ne": None}}, {"answer.body": 1}, session=tx):
            found = forget_in_answer(bytes(row["answer"]["body"]), people)
            if found is not None:
                person, body = found
                change = {"$set": {"answer.body": body}}
                done = await self._answers.update_one({"_id": row["_id"]}, change, session=tx)
                blanked[person] += done.modified_count
        return blanked


class AnsweredForgetting:
    """Applies ``user.erased.v1`` in a service, and answers it."""

    def __init__(self, mongo: Mongo, outbox: Outbox, service: str) -> None:
        self._forgetting = Forgetting(mongo)
        self._outbox = outbox
        self._answer = BY_SERVICE[service]

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply the event; nothing else comes here."""
        await self.forget(UserErased.model_validate(event.data).resource.id, tx)

    async def forget(self, person: str, tx: Transaction, **more: int) -> None:
        """Forget a person and say so, with ``more`` of what this service alone has forgotten."""
        forgotten = await self._forgetting.forget(person, tx)
        resource = PersonResource(type="user", id=person)
        counts = {"events": forgotten.events, "answers": forgotten.answers, **more}
        answer: PersonForgotten = self._answer.model_validate({"actor": ACTOR, "resource": resource, **counts})
        await self._outbox.add(tx, answer)


def hearing_erasures(
    bus: Bus, mongo: Mongo, outbox: Outbox, clock: Clock, service: str, also: Handler | None = None
) -> list[Callable[[], Awaitable[None]]]:
    """Return the task in which ``service`` forgets people, for the list of its tasks; none where it hears of nobody.

    ``also`` forgets in the same transaction what this service alone keeps.
    """
    consumer = f"{service}-erasures"
    if consumer not in {spec.name for spec in BY_NAME[service].consumers}:
        return []

    forgetting = AnsweredForgetting(mongo, outbox, service)

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        await forgetting.handle(event, tx)
        if also is not None:
            await also(event, tx)

    async def hear() -> None:
        # Made anew at each start of the worker: what it pulled with may not outlive it.
        await EventConsumer(bus, consumer, mongo, handle, clock).run()

    return [hear]


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


def forget_in_answer(body: bytes, people: Collection[str]) -> tuple[str, bytes] | None:
    """Return of whom of ``people`` an answer is, and the answer without them; None if it holds nothing of them."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict):
        return None
    about = {answer.get("id"), answer.get("userId")} & set(people)
    blank = {name: "" for name in _NAMING if name in answer}  # as they stand beside a person who was erased
    without = {name: value for name, value in {**answer, **blank}.items() if name != "subject"}
    if not about or without == answer:
        return None
    return min(str(person) for person in about), orjson.dumps(without)


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
