"""Checkpoints in MongoDB, found and inserted only, and what the service remembers about them.

What it remembers (`checkpoint_places`) saves work and proves nothing: each reader checks it against what is signed.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

from services.audit.checkpoints.models import Row, is_number
from shared.mongo import Database, Document, DuplicateKey, Transaction

_BATCH = 500


class SupersededError(Exception):
    """Another replica has written a checkpoint meanwhile."""


class CheckpointRepository:
    """The collections `checkpoints` and `checkpoint_places`."""

    def __init__(self, db: Database) -> None:
        self._rows = db["checkpoints"]
        self._places = db["checkpoint_places"]

    async def newest(self, tx: Transaction | None = None) -> Row | None:
        """The row with the highest number, whatever else lies there."""
        return await self._rows.find_one({"_id": {"$type": "number"}}, sort=[("_id", -1)], session=tx)

    async def newest_number(self) -> int:
        """The highest number, or 0; of a fraction its whole part, and `strays` names it."""
        row = await self.newest()
        return 0 if row is None or not math.isfinite(row["_id"]) else int(row["_id"])

    async def row(self, number: int) -> Row | None:
        return await self._rows.find_one({"_id": number})

    async def rows(self, first: int, last: int) -> list[Row]:
        """The rows from one number to another, both included, in order; and whatever lies behind them."""
        return await self._rows.find({"_id": {"$gte": first, "$lt": last + 1}}).sort("_id", 1).to_list()

    async def strays(self) -> list[Any]:
        """A few ids that no checkpoint has: below 1, no numbers at all, or a newest one that is no whole number."""
        low = self._rows.find({"_id": {"$lt": 1}}, {"_id": 1}).limit(3)
        odd = self._rows.find({"_id": {"$not": {"$type": "number"}}}, {"_id": 1}).limit(3)
        newest = await self.newest()
        rows = [*await low.to_list(), *await odd.to_list(), *([] if newest is None else [newest])]
        return [row["_id"] for row in rows if not is_number(row["_id"])]

    async def insert(self, row: Row, previous: int, tx: Transaction) -> None:
        """Add the checkpoint after `previous`. Raises SupersededError unless that is the newest."""
        newest = await self.newest(tx)
        if (0 if newest is None else newest["_id"]) != previous:
            raise SupersededError(f"checkpoint {previous} is no longer the newest")
        try:
            await self._rows.insert_one(row, session=tx)
        except DuplicateKey as error:
            raise SupersededError(f"checkpoint {row['_id']} exists") from error

    async def after(self, number: int) -> AsyncIterator[Row]:
        """The rows above a number in order."""
        async for row in self._rows.find({"_id": {"$gt": number}}).sort("_id", 1).batch_size(_BATCH):
            yield row

    # places

    async def place(self, name: str) -> Document | None:
        return await self._places.find_one({"_id": name})

    async def save_place(self, name: str, place: Document, tx: Transaction | None = None) -> None:
        await self._places.replace_one({"_id": name}, {"_id": name, **place}, upsert=True, session=tx)

    async def copied(self) -> int:
        """Through which number the witness has been given copies."""
        row = await self.place("copied")
        return 0 if row is None or not is_number(row.get("number")) else int(row["number"])

    async def save_copied(self, number: int) -> None:
        await self._places.update_one({"_id": "copied"}, {"$max": {"number": number}}, upsert=True)
