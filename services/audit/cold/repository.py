"""What MongoDB knows of archives: `archives` has a row for each batch. The archiver writes as a user of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.audit.models import Stored
from shared.mongo import Database, Document, Index, Transaction

INDEXES: Mapping[str, Sequence[Index]] = {"archives": [Index([("tier", 1), ("_id", 1)])]}
_SCHEDULE = "schedule"


class ColdRepository:
    """Rows of archives, and hot entries by number; finds only."""

    def __init__(self, db: Database) -> None:
        self._entries = db["entries"]
        self._archives = db["archives"]

    async def newest(self) -> Document | None:
        """The row of the newest batch."""
        return await self._archives.find_one({}, sort=[("_id", -1)])

    async def archived_up_to(self) -> int:
        """The highest archived number; 0 if there is none."""
        row = await self.newest()
        return 0 if row is None else int(row["endSeq"])

    async def at_or_before(self, seq: int) -> Document | None:
        """The row of the batch with the highest start that is not above `seq`."""
        return await self._archives.find_one({"_id": {"$lte": seq}}, sort=[("_id", -1)])

    async def below(self, before: int | None, limit: int) -> list[Document]:
        """Rows of batches that start below a number, the newest first."""
        wanted: Document = {} if before is None else {"_id": {"$lt": before}}
        return await self._archives.find(wanted).sort("_id", -1).limit(limit).to_list()

    async def row(self, start_seq: int) -> Document | None:
        """The row of a batch."""
        return await self._archives.find_one({"_id": start_seq})

    async def hot(self, after: int, up_to: int, limit: int, tx: Transaction | None = None) -> list[Stored]:
        """Hot entries after a number and up to another, ascending."""
        wanted = {"_id": {"$gt": after, "$lte": up_to}}
        return await self._entries.find(wanted, session=tx).sort("_id", 1).limit(limit).to_list()

    async def lowest_hot(self) -> int | None:
        """The lowest number among the hot entries."""
        first = await self._entries.find_one({}, {"_id": 1}, sort=[("_id", 1)])
        return None if first is None else int(first["_id"])


class ArchiveRepository(ColdRepository):
    """The same for the archiver, who also writes the rows and removes entries. Needs the archiver's own user."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._checkpoints = db["checkpoints"]
        self._state = db["archive_state"]

    async def covered(self) -> int | None:
        """The highest number that a checkpoint covers, or None where there are no checkpoints."""
        row = await self._checkpoints.find_one({}, {"headSeq": 1}, sort=[("_id", -1)])
        return None if row is None else int(row["headSeq"])

    async def covered_before(self, moment: str) -> int:
        """The highest number that was chained before a moment for certain: a checkpoint of before covers it."""
        row = await self._checkpoints.find_one({"at": {"$lt": moment}}, {"headSeq": 1}, sort=[("_id", -1)])
        return 0 if row is None else int(row["headSeq"])

    async def leaving(self) -> list[Document]:
        """Rows of batches of which entries are still, or again, hot; in ascending order."""
        return await self._archives.find({"tier": {"$ne": "cold"}}).sort("_id", 1).to_list()

    async def record(self, row: Document, tx: Transaction) -> None:
        """Add a batch."""
        await self._archives.insert_one(dict(row), session=tx)

    async def mark(self, start_seq: int, changes: Mapping[str, Any], tx: Transaction) -> None:
        """Change the state of a batch: `tier`, `restoredAt`."""
        await self._archives.update_one({"_id": start_seq}, {"$set": dict(changes)}, session=tx)

    async def remove(self, first: int, last: int, tx: Transaction) -> None:
        """Remove hot entries by number, both ends included."""
        await self._entries.delete_many({"_id": {"$gte": first, "$lte": last}}, session=tx)

    async def put_back(self, entries: Sequence[Stored], tx: Transaction) -> None:
        """Add entries that had been removed."""
        await self._entries.insert_many([dict(entry) for entry in entries], session=tx)

    async def last_day(self) -> str | None:
        """The UTC day of the last scheduled run that ended well."""
        row = await self._state.find_one({"_id": _SCHEDULE})
        return None if row is None else str(row["day"])

    async def set_last_day(self, day: str) -> None:
        await self._state.update_one({"_id": _SCHEDULE}, {"$set": {"day": day}}, upsert=True)
