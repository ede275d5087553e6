"""The queue of records that wait to be chained, and what is known of each source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.audit.ingest.models import Arrival, Record
from shared.ids import new_id
from shared.mongo import Database, Document, Index, Transaction

INDEXES: Mapping[str, Sequence[Index]] = {
    "ingested": [Index([("batch", 1), ("place", 1)]), Index([("source", 1), ("batch", 1)])],
}
_PAGE = 100
_QUERY_MS = 5_000


class IngestRepository:
    """`ingested` holds a record from its arrival until its entry; `ingest_sources` has a row for each source."""

    def __init__(self, db: Database) -> None:
        self._queue = db["ingested"]
        self._sources = db["ingest_sources"]
        self._entries = db["entries"]

    # arriving

    async def waiting(self, most: int) -> int:
        """How many records wait; counts no further than `most`."""
        return await self._queue.count_documents({}, limit=most, maxTimeMS=_QUERY_MS)

    async def known(self, ids: Sequence[str], tx: Transaction) -> set[str]:
        """Which of `ids` wait already, or have an entry."""
        if not ids:
            return set()
        queued = self._queue.find({"_id": {"$in": list(ids)}}, {"_id": 1}, session=tx)
        found = {row["_id"] async for row in queued}
        chained = self._entries.find({"id": {"$in": list(ids)}}, {"_id": 0, "id": 1}, session=tx)
        return found | {row["id"] async for row in chained}

    async def add(self, records: Sequence[Record], tx: Transaction) -> None:
        """Append to the queue, in order."""
        # A UUIDv7 sorts by time: the queue is read in the order of arrival.
        batch = new_id()
        rows: list[Document] = [
            {
                "_id": record.id,
                "batch": batch,
                "place": place,
                "source": record.source,
                "received": record.received,
                "body": record.body,
            }
            for place, record in enumerate(records)
        ]
        if rows:
            await self._queue.insert_many(rows, session=tx)

    async def note(self, arrival: Arrival, added: int, now: datetime, tx: Transaction) -> None:
        """Write down how far a source has been read; it has worked, so an earlier failure is over."""
        fields: Document = {"failure": None}
        if arrival.position is not None:
            fields["position"] = dict(arrival.position)
        if added:
            fields["receivedAt"] = now
        if arrival.caught_up:
            fields["caughtUpAt"] = now
        counted = {f"skipped.{reason}": count for reason, count in arrival.skipped.items() if count}
        increments: Document = {**counted, "received": added}
        update = {"$set": fields, "$inc": increments, "$setOnInsert": {"since": now}}
        await self._sources.update_one({"_id": arrival.source}, update, upsert=True, session=tx)

    async def position(self, source: str) -> Document | None:
        """Where reading goes on."""
        row = await self._sources.find_one({"_id": source}, {"position": 1})
        found: Document | None = None if row is None else row.get("position")
        return found

    # how sources are doing

    async def watch(self, sources: Iterable[str], now: datetime) -> None:
        """Remember since when a source is expected to say something."""
        for source in sources:
            await self._sources.update_one({"_id": source}, {"$setOnInsert": {"since": now}}, upsert=True)

    async def fail(self, source: str, reason: str, now: datetime) -> None:
        """Write down that a source could not be read."""
        update = {"$set": {"failure": {"reason": reason, "at": now}}, "$setOnInsert": {"since": now}}
        await self._sources.update_one({"_id": source}, update, upsert=True)

    async def sources(self) -> dict[str, Document]:
        """What is known of each source, by its name."""
        return {row["_id"]: row async for row in self._sources.find()}

    async def backlog(self) -> dict[str, tuple[int, datetime]]:
        """How many records of each source wait, and since when the oldest does."""
        steps: list[dict[str, Any]] = [
            {"$group": {"_id": "$source", "count": {"$sum": 1}, "oldest": {"$min": "$received"}}}
        ]
        rows = await self._queue.aggregate(steps, maxTimeMS=_QUERY_MS)
        return {row["_id"]: (int(row["count"]), row["oldest"]) async for row in rows}

    # leaving

    async def oldest(self, most: int, most_bytes: int) -> list[Record]:
        """What waits, oldest first: at most so many records, and so many bytes or one record."""
        rows = self._queue.find({}).sort([("batch", 1), ("place", 1)]).limit(most).batch_size(_PAGE)
        found: list[Record] = []
        size = 0
        async for row in rows:
            body = bytes(row["body"])
            size += len(body)
            if found and size > most_bytes:
                break
            found.append(Record(row["_id"], row["source"], body, row["received"]))
        return found

    async def remove(self, ids: Sequence[str], tx: Transaction) -> None:
        """Take chained records out of the queue."""
        await self._queue.delete_many({"_id": {"$in": list(ids)}}, session=tx)
