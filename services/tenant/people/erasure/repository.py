"""Where this service keeps something of people besides their records, and who was an operator until just now."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from services.tenant.people.erasure.models import forget_billing
from services.tenant.people.erasure.report.models import TENANT, Part
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.models import Identity
from shared.forgetting import Forgetting
from shared.mongo import Document, Index, Mongo, Transaction

TOKENS_LAST = timedelta(hours=1)
"""How long after their erasure an operator's token is refused; none that was issued before lives longer."""

INDEXES: Mapping[str, Sequence[Index]] = {
    "people_refused": [Index([("until", 1)], {"expireAfterSeconds": 0})],
}


class Traces:
    """The collections ``outbox``, ``people_tasks`` and ``idempotency``, as far as they name people.

    Everything here may be repeated, and finds only what is left.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._events = mongo.db["outbox"]
        self._tasks = mongo.db["people_tasks"]
        self._shared = Forgetting(mongo)
        self._book = ErasureBook(mongo)

    async def forget(self, people: Collection[str]) -> None:
        """Take what is personal of ``people`` out of events (told or not), tasks and stored answers.

        An event that is not told yet is still told, without what was personal. Reads all stored answers. What was found
        is counted in the book of erasures.
        """
        events: dict[str, int] = {}
        for person in people:
            events[person] = await self._shared.forget_in_events(person)
            acted = {"actor.id": person, "actor.type": "user"}
            await self._tasks.update_many(acted, {"$set": {"actor.email": None, "actor.ip": None}})
        answers = await self._shared.forget_in_answers(people)
        for person in people:
            await self._book.add(person, TENANT, Part(None, events[person], answers[person]))

    async def forget_billing(self, slug: str, email: str, tx: Transaction) -> None:
        """Take an address out of what was said of a tenant's billing contact."""
        rows = self._events.find({"aggregate": f"tenants/{slug}"}, {"type": 1, "envelope.data": 1}, session=tx)
        async for row in rows:
            data = row["envelope"]["data"]
            if forget_billing(row["type"], data, email):
                await self._put(row["_id"], data, tx)

    async def _put(self, event: str, data: Document, tx: Transaction | None) -> None:
        await self._events.update_one({"_id": event}, {"$set": {"envelope.data": data}}, session=tx)


class RefusedIdentities:
    """The collection ``people_refused``: whose tokens would make an operator of somebody who was just erased.

    It holds digests, and those for an hour.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["people_refused"]

    async def refuse(self, person: str, identities: Sequence[Identity], tx: Transaction) -> None:
        """Refuse the identities of a person until their tokens have ended."""
        for identity in identities:
            until = {"$add": ["$$NOW", int(TOKENS_LAST.total_seconds() * 1000)]}
            change: list[Document] = [{"$set": {"person": person, "until": until}}]
            await self._rows.update_one({"_id": _digest(identity)}, change, upsert=True, session=tx)

    async def find(self, identity: Identity) -> str | None:
        """Return the id of the person that a refused identity was."""
        query = {"_id": _digest(identity), "$expr": {"$gt": ["$until", "$$NOW"]}}
        row = await self._rows.find_one(query, {"person": 1})
        return None if row is None else str(row["person"])

    async def until(self, person: str) -> datetime | None:
        """Return how long identities that a person was are refused; None where they are not. Holds an hour's rows."""
        row = await self._rows.find_one({"person": person}, {"until": 1}, sort=[("until", -1)])
        return None if row is None else row["until"]


def _digest(identity: Identity) -> str:
    return hashlib.sha256(f"{identity.identity_provider}\x00{identity.subject}".encode()).hexdigest()
