"""The generations of a projection in MongoDB: one pointer document, and a collection for each generation.

Why nothing is missed, nothing half is read, and a row may bind a transaction:

* Handlers read the pointer inside their transaction and write every generation that it names. An event whose handler
  did not see a new generation was committed at its owner before the pointer named it, and so before the first page of
  the snapshot was asked for: the snapshot holds it.
* Readers read the current generation, which is switched to when it is full. They may know the pointer of a second ago:
  the generation that they then read is still written for ``GRACE``.
* A transaction that is bound to a row of the generation that was current when it began (``services.tenant``: a tenant
  is created only under an active partner) conflicts with every handler that writes this row. A handler stops writing
  that generation no earlier than ``GRACE`` after the switch, and the server ends every transaction after a minute: so
  the bound one has committed before, or never will.
* A collection is dropped ``GRACE`` after the last handler that knew of it began, for the same reason. Numbers are
  never given twice, so that a process which was asleep all the while cannot write into somebody else's generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic

from bson import decode, encode
from bson.codec_options import CodecOptions
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import CollectionInvalid

from shared.leases import Lease, LeaseLost
from shared.mongo import Document, Mongo, Transaction
from shared.projections.models import (
    Building,
    Difference,
    Findings,
    Pointer,
    ProjectionSpec,
    S,
    Standing,
    as_row,
    pointer_of,
)

Collection = AsyncCollection[Document]

FRESH_SECONDS = 1.0
GRACE = timedelta(seconds=90)
"""Longer than ``FRESH_SECONDS`` and a transaction together: the server's transactionLifetimeLimitSeconds is 60."""

BATCH = 200
_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True)


class Projection(Generic[S]):
    """A repository of another service's data; a subclass says what it is by ``spec`` and adds the reads."""

    spec: ClassVar[ProjectionSpec[Any]]

    def __init__(self, mongo: Mongo) -> None:
        self.generations: Generations[S] = Generations(mongo, self.spec)

    async def apply(self, state: S, tx: Transaction) -> None:
        """Take over a state unless this version or a later one is there: events come twice and out of order."""
        await self.generations.apply(state, tx)


class Generations(Generic[S]):
    """A projection's collections: written by its consumer, read by its repository, moved on by a rebuild."""

    def __init__(self, mongo: Mongo, spec: ProjectionSpec[S]) -> None:
        self.spec = spec
        self._mongo = mongo
        self._pointers = mongo.db["projections"]
        self._read_at = float("-inf")
        self._known = Pointer()
        self._reading = asyncio.Lock()

    def collection(self, generation: int) -> Collection:
        """Return a generation's collection; the first one has the projection's own name."""
        name = self.spec.name
        return self._mongo.db[name if generation == 1 else f"{name}_{generation}"]

    async def pointer(self, tx: Transaction | None = None) -> Pointer:
        """Return the pointer as it is now, or as ``tx`` sees it."""
        return pointer_of(await self._pointers.find_one({"_id": self.spec.name}, session=tx))

    async def current(self, tx: Transaction | None = None) -> Collection:
        """Return the generation to read.

        Within ``tx`` it is the one that was current when ``tx`` began; else it may be that of a second ago, which is
        as full.
        """
        if tx is not None:
            return self.collection((await self.pointer(tx)).current)
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            async with self._reading:
                asked_at = time.monotonic()
                if asked_at - self._read_at > FRESH_SECONDS:
                    self._known = await self.pointer()
                    self._read_at = asked_at
        return self.collection(self._known.current)

    async def apply(self, state: S, tx: Transaction) -> None:
        """Take over a state in every generation, unless it or a newer version is there."""
        row = self.spec.row(state)
        for generation in (await self.pointer(tx)).written:
            await self.collection(generation).update_one({"_id": row["_id"]}, _newer(row), upsert=True, session=tx)

    async def prepare(self, now: datetime) -> None:
        """Make the pointer unless there is one, and the indexes of the generations in use."""
        first: Document = {"current": 1, "newest": 1, "building": None, "retiring": [], "dropping": []}
        unknown = {"compared_at": now, "counts": {}, "rows": [], "more": False, "trouble": None}
        made = {"$setOnInsert": {**first, **unknown}}
        await self._pointers.update_one({"_id": self.spec.name}, made, upsert=True)
        for generation in (await self.pointer()).written:
            await self._index(generation)

    async def begin(self, lease: Lease) -> Building:
        """Return the generation that is being built: the one that a rebuild before left, else a new one.

        From when this returns, handlers write it.
        """
        building = (await self.pointer()).building
        if building is None:
            number = {"$add": ["$newest", 1]}
            fresh = {"generation": number, "filling": False, "cursor": None, "rows": 0}
            moved = await self._move(lease, {"building": None}, [{"$set": {"newest": number, "building": fresh}}])
            building = _built(moved)
        if not building.filling:
            # Before handlers hear of it: a transaction cannot write where a collection appears after its beginning.
            await self._create(building.generation)
            at = {"building.generation": building.generation}
            building = _built(await self._move(lease, at, [{"$set": {"building.filling": True}}]))
        return building

    async def fill(self, lease: Lease, building: Building, states: Sequence[S], cursor: str | None) -> Building:
        """Take over a page of the snapshot, newest version wins, and remember where the next one begins."""
        rows = [self.spec.row(state) for state in states]
        if rows:
            updates = [UpdateOne({"_id": row["_id"]}, _newer(row), upsert=True) for row in rows]
            await self.collection(building.generation).bulk_write(updates, ordered=False)
        done = Building(building.generation, True, cursor, building.rows + len(rows))
        at = {"building.generation": building.generation}
        return _built(await self._move(lease, at, [{"$set": {"building": asdict(done)}}]))

    async def switch(self, lease: Lease, building: Building) -> Pointer:
        """Let everybody read what was built; it was just compared, so nothing is known against it."""
        left = {"generation": "$current", "since": "$$NOW"}
        change = {
            "current": building.generation,
            "building": None,
            "retiring": {"$concatArrays": ["$retiring", [left]]},
            **{name: {"$literal": value} for name, value in _stored(Findings()).items()},
            "compared_at": "$$NOW",
        }
        return await self._move(lease, {"building.generation": building.generation}, [{"$set": change}])

    async def abandon(self, lease: Lease, building: Building) -> Pointer:
        """Give up what was being built."""
        left = {"generation": building.generation, "since": "$$NOW"}
        change = {"building": None, "dropping": {"$concatArrays": ["$dropping", [left]]}}
        return await self._move(lease, {"building.generation": building.generation}, [{"$set": change}])

    async def retire(self, lease: Lease, grace: timedelta = GRACE) -> list[str]:
        """Move on what has waited for ``grace``; return the names of the collections that are gone."""
        before = {"$subtract": ["$$NOW", int(grace.total_seconds() * 1000)]}
        over = await self._waited_until(before)
        gone = [*(self.collection(number).name for number in over), *await self._orphans()]
        for name in gone:
            await self._mongo.db.drop_collection(name)
        left = {"$filter": {"input": "$dropping", "cond": {"$not": [{"$in": ["$$this.generation", over]}]}}}
        due = {"$filter": {"input": "$retiring", "cond": {"$lte": ["$$this.since", before]}}}
        moved = {"$map": {"input": due, "in": {"generation": "$$this.generation", "since": "$$NOW"}}}
        change = {
            "dropping": {"$concatArrays": [left, moved]},
            "retiring": {"$filter": {"input": "$retiring", "cond": {"$gt": ["$$this.since", before]}}},
        }
        await self._move(lease, {}, [{"$set": change}])
        return gone

    async def count(self, generation: int) -> int:
        """Return about how many rows a generation has."""
        return await self.collection(generation).estimated_document_count()

    async def between(self, generation: int, after: str | None, to: str | None) -> AsyncIterator[Document]:
        """Yield rows by the order of the snapshot: those above ``after`` up to ``to``; None is no bound."""
        bounds: Document = {"$type": "string"}
        bounds |= {} if after is None else {"$gt": after}
        bounds |= {} if to is None else {"$lte": to}
        rows = self.collection(generation).find({self.spec.order_by: bounds}).sort(self.spec.order_by, 1)
        async for row in rows.batch_size(BATCH):
            yield row

    async def ids(self, after: str, limit: int) -> list[str]:
        """Return the first ids of the current generation, as it is now, that follow ``after``; in order."""
        rows = self.collection((await self.pointer()).current).find({"_id": {"$gt": after}}, {"_id": 1})
        return [row["_id"] async for row in rows.sort("_id", 1).limit(limit)]

    async def outside(self, generation: int) -> AsyncIterator[Document]:
        """Yield rows that have no place in the order of the snapshot: no event makes such."""
        no_text = {self.spec.order_by: {"$not": {"$type": "string"}}}
        async for row in self.collection(generation).find(no_text, {"version": 1}):
            yield row

    def expected(self, state: S) -> Document:
        """Return the row of ``state`` as it reads back from the database."""
        return decode(encode(self.spec.row(state)), codec_options=_AWARE)

    async def standing(self) -> Standing:
        """Return the generations and what the newest comparison found."""
        row = await self._pointers.find_one({"_id": self.spec.name})
        if row is None:
            return Standing(Pointer(), None, Findings())
        rows = tuple(Difference(**{**found, "names": tuple(found["names"])}) for found in row["rows"])
        findings = Findings(row["counts"], rows, row["more"], row["trouble"])
        return Standing(pointer_of(row), row["compared_at"], findings)

    async def record(self, findings: Findings, at: datetime) -> None:
        """Store what a comparison found in place of what the one before did."""
        await self._pointers.update_one(
            {"_id": self.spec.name}, {"$set": {**_stored(findings), "compared_at": at}}, upsert=False
        )

    async def record_trouble(self, reason: str) -> None:
        """Store why a comparison could not be ended; what the one before found stays."""
        await self._pointers.update_one({"_id": self.spec.name}, {"$set": {"trouble": reason}})

    async def _move(self, lease: Lease, only: Document, change: list[Document]) -> Pointer:
        """Change the pointer, if it is as ``only`` says and while the lease is held.

        Raises:
            LeaseLost: either is no longer so: another rebuild has taken over.
        """

        async def body(tx: Transaction) -> Pointer:
            await lease.assert_held(tx)
            row = await self._pointers.find_one_and_update(
                {"_id": self.spec.name, **only}, change, return_document=ReturnDocument.AFTER, session=tx
            )
            if row is None:
                raise LeaseLost(f"the generations of {self.spec.name} have moved on without this rebuild")
            return pointer_of(row)

        return await self._mongo.transactions.run(body)

    async def _create(self, generation: int) -> None:
        with contextlib.suppress(CollectionInvalid):
            await self._mongo.db.create_collection(self.collection(generation).name)
        await self._index(generation)

    async def _index(self, generation: int) -> None:
        await self._mongo.ensure_indexes({self.collection(generation).name: self.spec.indexes})

    async def _waited_until(self, before: Document) -> list[int]:
        """Return the generations that nobody has been able to write since ``before``, an expression."""
        due = {"$filter": {"input": "$dropping", "cond": {"$lte": ["$$this.since", before]}}}
        pipeline: list[Document] = [{"$match": {"_id": self.spec.name}}, {"$project": {"due": due}}]
        rows = [row async for row in await self._pointers.aggregate(pipeline)]
        return [entry["generation"] for row in rows for entry in row["due"]]

    async def _orphans(self) -> list[str]:
        """Return collections that a process made by writing to a generation which was gone."""
        pointer = await self.pointer()
        numbered = re.compile(rf"{re.escape(self.spec.name)}_([1-9][0-9]*)")
        orphans = []
        for name in await self._mongo.db.list_collection_names():
            match = numbered.fullmatch(name)
            number = 1 if name == self.spec.name else int(match[1]) if match else pointer.newest + 1
            if number <= pointer.newest and number not in pointer.known:
                orphans.append(name)
        return orphans


def _newer(row: Document) -> list[Document]:
    """Return an update to ``row``, unless that version or a later one is there.

    Literal, because a name may begin with a dollar sign. One statement, because an insert that meets a twin's would
    abort the transaction of the whole batch.
    """
    newer = {"$lt": [{"$ifNull": ["$version", 0]}, row["version"]]}
    return [{"$replaceWith": {"$cond": [newer, {"$literal": row}, "$$ROOT"]}}]


def _built(pointer: Pointer) -> Building:
    if pointer.building is None:
        raise LeaseLost("the generation is no longer being built")
    return pointer.building


def _stored(findings: Findings) -> dict[str, Any]:
    return {
        "counts": dict(findings.counts),
        "rows": [as_row(found) for found in findings.rows],
        "more": findings.more,
        "trouble": findings.trouble,
    }
