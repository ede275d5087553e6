"""The present state of every probe, and whom the dead letters must forget, in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime

from services.health.models import ErasedPerson, ProbeState
from shared.mongo import Index, Mongo, Transaction
from shared.topology import EVENT_AGE

INDEXES: Mapping[str, Sequence[Index]] = {
    "probes": [],
    # A letter is gone by then, so nobody can come back to it.
    "dead_letter_copies": [Index([("at", 1)], {"expireAfterSeconds": int(EVENT_AGE.total_seconds())})],
}


class ProbeRepository:
    """The collection ``probes``, one document a probe."""

    def __init__(self, mongo: Mongo) -> None:
        self._probes = mongo.db["probes"]

    async def all_across_tenants(self) -> dict[str, ProbeState]:
        """Return the state of every probe by name."""
        names = [f.name for f in fields(ProbeState) if f.name != "name"]
        rows = self._probes.find({})
        return {row["_id"]: ProbeState(row["_id"], **{n: row[n] for n in names}) async for row in rows}

    async def save(self, states: Sequence[ProbeState]) -> None:
        """Store the newest states; what a slower look saw earlier does not replace them."""
        for state in states:
            row = {"_id": state.name, **asdict(state)}
            del row["name"]
            stale = {"_id": state.name, "checked_at": {"$gt": state.checked_at}}
            if await self._probes.find_one(stale, {"_id": 1}) is None:
                await self._probes.replace_one({"_id": state.name}, row, upsert=True)

    async def forget_others(self, names: Sequence[str]) -> None:
        """Drop the states of probes that are no longer configured."""
        await self._probes.delete_many({"_id": {"$nin": list(names)}})


class ErasureRepository:
    """The collections ``erased_people``, and ``dead_letter_copies``: letters of which a copy may exist already."""

    def __init__(self, mongo: Mongo) -> None:
        self._people = mongo.db["erased_people"]
        self._copies = mongo.db["dead_letter_copies"]

    async def add(self, person: str, at: datetime, tx: Transaction) -> None:
        """Look for ``person``, erased at ``at``, among all dead letters from now on."""
        row = {"at": at, "after": 0}
        await self._people.update_one({"_id": person}, {"$setOnInsert": row}, upsert=True, session=tx)

    async def all(self) -> list[ErasedPerson]:
        """Return everybody who is looked for."""
        return [ErasedPerson(row["_id"], row["at"], int(row["after"])) async for row in self._people.find()]

    async def looked(self, people: Sequence[ErasedPerson], reached: Mapping[str, int]) -> None:
        """Record up to which letter they were looked for."""
        for each in people:
            if reached[each.person] != each.after:
                await self._people.update_one({"_id": each.person}, {"$set": {"after": reached[each.person]}})

    async def forget_before(self, moment: datetime) -> None:
        """Look no more for whom was erased before ``moment``."""
        await self._people.delete_many({"at": {"$lt": moment}})

    async def begin(self, seq: int, at: datetime) -> bool:
        """Record that a copy of a letter is about to be buried; return whether that is the first time."""
        done = await self._copies.update_one({"_id": seq}, {"$setOnInsert": {"at": at}}, upsert=True)
        return done.upserted_id is not None

    async def done(self, seq: int) -> None:
        """Record that the letter is gone."""
        await self._copies.delete_one({"_id": seq})
