"""The present state of every probe, in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from services.health.models import ProbeState
from shared.mongo import Index, Mongo

INDEXES: Mapping[str, Sequence[Index]] = {"probes": []}


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
