"""The audit database. Entries are only ever found and inserted: MongoDB refuses this user anything else on them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from bson import Decimal128
from pymongo import UpdateOne
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import BulkWriteError, ExecutionTimeout

from services.audit.canonical import MAX_INTEGER
from services.audit.erasing import Destroyed, Erasure
from services.audit.models import Head, Query, Stored, TenantPlace
from services.audit.verifier import ChainBrokenError
from shared.mongo import Database, Document, Index, Transaction
from shared.topology import EVENT_AGE

CHAIN = "chain"
# What one page may look through when its filters need more than their index.
PAGE_SCAN = 20_000
_BATCH = 500
_DUPLICATE = 11000
_QUERY_MS = 8_000
_COUNT_MS = 1_000

_Keys = list[tuple[str, int]]
# Every string but the empty one. The planner sees that "acme" is among them; with {$type: "string"} it does not.
_STRING = {"$gt": ""}


def _by(*names: str, partial: str | None = None) -> Index:
    options = {"partialFilterExpression": {partial: _STRING}} if partial else {}
    return Index([*((name, 1) for name in names), ("_id", -1)], options)


# `_id` is `seq`, so every index ends in the order of the list.
INDEXES: Mapping[str, Sequence[Index]] = {
    "entries": [
        Index([("id", 1)], {"unique": True}),
        _by("at"),
        _by("actions"),
        _by("outcome"),
        _by("source"),
        _by("tenantSlug", partial="tenantSlug"),
        _by("partnerSlug", partial="partnerSlug"),
        _by("tenantSlug", "actions", partial="tenantSlug"),
        _by("partnerSlug", "actions", partial="partnerSlug"),
        _by("actorEmailHmac", partial="actorEmailHmac"),
    ],
    "person_keys": [Index([("addresses", 1)])],
    # As long as the stream of events can say something again, the sources outside are thought to be late at most.
    "erased_addresses": [Index([("at", 1)], {"expireAfterSeconds": int(EVENT_AGE.total_seconds())})],
}


class HeadMovedError(Exception):
    """The head is not the one that this batch was chained to; nothing was written."""


class HeadMissingError(Exception):
    """There are entries but no head: somebody removed it, and no batch may be chained until that is understood."""


class AuditRepository:
    """Entries, the head of their chain, data keys, positions of the sources, and the projection of tenants."""

    def __init__(self, db: Database, page_scan: int = PAGE_SCAN) -> None:
        self._page_scan = page_scan
        self._entries = db["entries"]
        self._heads = db["heads"]
        self._keys = db["person_keys"]
        self._sources = db["sources"]
        self._tenants = db["tenants"]
        self._erasures = db["erasures"]
        self._erased = db["erased_addresses"]

    # the chain

    async def head(self, tx: Transaction | None = None) -> Head | None:
        """The head, or None if there is none. Raises ChainBrokenError for one that this service has not written."""
        row = await self._heads.find_one({"_id": CHAIN}, session=tx)
        if row is None:
            return None
        seq, digest = row.get("seq"), row.get("hash")
        if not isinstance(seq, int) or type(seq) is bool or type(digest) is not str:
            raise ChainBrokenError("truncated-tail", 0, "a head {seq, hash}", {"seq": seq, "hash": digest})
        return Head(int(seq), digest)

    async def head_to_extend(self, tx: Transaction) -> Head:
        """The head, made at the first entry. Raises HeadMissingError when entries exist without one."""
        head = await self.head(tx)
        if head is not None:
            return head
        if await self._entries.find_one({}, {"_id": 1}, session=tx) is not None:
            raise HeadMissingError("the head of the chain is missing although there are entries")
        await self._heads.insert_one({"_id": CHAIN, "seq": Head().seq, "hash": Head().hash}, session=tx)
        return Head()

    async def known_ids(self, ids: Sequence[str], tx: Transaction) -> set[str]:
        """Which of `ids` are chained already."""
        rows = self._entries.find({"id": {"$in": list(ids)}}, {"_id": 0, "id": 1}, session=tx)
        return {row["id"] async for row in rows}

    async def extend(self, before: Head, entries: Sequence[Stored], after: Head, tx: Transaction) -> None:
        """Insert a batch and move the head over it. Raises HeadMovedError if the head was not `before`."""
        try:
            await self._entries.insert_many([{"_id": entry["seq"], **entry} for entry in entries], session=tx)
        except BulkWriteError as error:
            if any(problem["code"] == _DUPLICATE for problem in error.details["writeErrors"]):
                raise HeadMovedError(f"there are entries beyond the head at {before.seq}") from error
            raise
        moved = await self._heads.update_one(
            {"_id": CHAIN, "seq": before.seq, "hash": before.hash},
            {"$set": {"seq": after.seq, "hash": after.hash}},
            session=tx,
        )
        if moved.modified_count != 1:
            raise HeadMovedError(f"the head is no longer at {before.seq}")

    # data keys

    async def keys_for(
        self, owners: Iterable[str], digests: Iterable[str], tx: Transaction | None = None
    ) -> list[Document]:
        """Rows of `person_keys` of these owners, and of those who are known by one of these addresses only."""
        by_address = {"addresses": {"$in": list(digests)}, "_id": {"$regex": "^address:"}}
        rows = self._keys.find({"$or": [{"_id": {"$in": list(owners)}}, by_address]}, session=tx)
        return await rows.to_list()

    async def keys_by_address(self, digest: str) -> list[Document]:
        """Live rows of everybody who has used an address."""
        return await self._keys.find({"addresses": digest, "wrapped": {"$exists": True}}).limit(100).to_list()

    async def save_keys(self, created: Sequence[Stored], met: Mapping[str, set[str]], tx: Transaction) -> None:
        """Add new rows, and addresses that known owners have used for the first time."""
        if created:
            await self._keys.insert_many(list(created), session=tx)
        for owner, digests in met.items():
            await self._keys.update_one(
                {"_id": owner, "wrapped": {"$exists": True}},
                {"$addToSet": {"addresses": {"$each": sorted(digests)}}},
                session=tx,
            )

    async def destroy_keys(
        self, owners: Iterable[str], erasures: Sequence[Erasure], digests: Iterable[str], tx: Transaction
    ) -> Destroyed:
        """Take the keys of `owners` away, and note the erasures that ask for it; a second time changes nothing.

        `digests` of the addresses of those who are erased are kept for as long as somebody may still speak of them.
        Rows of `raw:` owners go with any erasure: nobody can say whom the bytes of an unreadable message name.
        """
        if not erasures:
            return Destroyed()
        at = min(erasure.at for erasure in erasures)
        gone: list[Document] = [
            {"$set": {"erasedAt": {"$ifNull": ["$erasedAt", at]}}},
            {"$unset": ["wrapped", "addresses"]},
        ]
        taken: list[str] = []
        for owner in owners:
            # An owner never met gets a row, so that what comes late finds no key and makes none.
            result = await self._keys.update_one({"_id": owner}, gone, upsert=True, session=tx)
            taken += [owner] * result.modified_count
        unreadable = {"_id": {"$regex": "^raw:"}, "wrapped": {"$exists": True}}
        raw = await self._keys.update_many(unreadable, gone, session=tx)
        for erasure in erasures:
            await self._erasures.update_one(
                {"_id": erasure.person}, {"$setOnInsert": {"at": erasure.at}}, upsert=True, session=tx
            )
        for digest in digests:
            # The server's time, not the erasure's: after a restore, old words come again from then on.
            await self._erased.update_one({"_id": digest}, [{"$set": {"at": "$$NOW"}}], upsert=True, session=tx)
        return Destroyed(tuple(taken), raw.modified_count)

    async def erased_addresses(self, digests: Iterable[str], tx: Transaction) -> dict[str, datetime]:
        """Which of these digests are those of addresses whose persons were erased lately, and since when."""
        rows = self._erased.find({"_id": {"$in": list(digests)}}, session=tx)
        return {row["_id"]: row["at"] async for row in rows}

    async def erasures(self) -> AsyncIterator[Erasure]:
        """Everybody who was erased, by id."""
        async for row in self._erasures.find().sort("_id", 1):
            yield Erasure(row["_id"], row["at"])

    async def addresses_of(self, owner: str, tx: Transaction) -> list[str]:
        """Digests of the addresses that an owner is known by."""
        row = await self._keys.find_one({"_id": owner}, {"addresses": 1}, session=tx)
        return [] if row is None else list(row.get("addresses", []))

    async def moment_of(self, seq: int) -> str | None:
        """The `at` of an entry; None if there is none under this number, or it is cold."""
        row = await self._entries.find_one({"_id": seq}, {"at": 1})
        return None if row is None else str(row["at"])

    # sources and tenants

    async def sources(self, names: Sequence[str] | None = None, tx: Transaction | None = None) -> list[Document]:
        """Positions: {_id: source, last, gaps: [[first, last], …]}; of all sources unless named."""
        wanted: Document = {} if names is None else {"_id": {"$in": list(names)}}
        return await self._sources.find(wanted, session=tx).to_list()

    async def save_sources(self, rows: Sequence[Document], tx: Transaction) -> None:
        for row in rows:
            await self._sources.replace_one({"_id": row["_id"]}, row, upsert=True, session=tx)

    async def save_tenants(self, places: Mapping[str, TenantPlace], tx: Transaction) -> None:
        """Apply placements; an older version never replaces a newer one."""
        updates = [
            UpdateOne(
                {"_id": place.slug},
                [
                    {
                        "$set": {
                            field: {"$cond": [_newer(place.version), {"$literal": value}, f"${field}"]}
                            for field, value in (("partner", place.partner), ("version", place.version))
                        }
                    }
                ],
                upsert=True,
            )
            for place in places.values()
        ]
        if updates:
            await self._tenants.bulk_write(updates, ordered=False, session=tx)

    async def tenant_place(self, slug: str) -> TenantPlace | None:
        row = await self._tenants.find_one({"_id": slug})
        return None if row is None else TenantPlace(slug, row["partner"], int(row["version"]))

    # reading

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]:
        """At most `limit` entries of the query, newest first, below `before`; and where the next page starts.

        A page may hold fewer than `limit` entries, even none, and still have a next one: filters beyond what an index
        answers are applied to `page_scan` entries a page. A span of time alone is found by its index wherever in the
        log it lies, unless that takes longer than a second.
        """
        base, rest = _plan(query)
        if bounds := [number for number in (before, query.below) if number is not None]:
            base["_id"] = {"$lt": min(bounds)}
        if query.above is not None:
            base["_id"] = {**base.get("_id", {}), "$gt": query.above}
        # Named, because on a rare value the planner may prefer to walk the whole log backwards.
        index: _Keys = [*((name, 1) for name in base if name != "_id"), ("_id", -1)]
        if "at" in base and await self._are_many(base, index):
            return await self._long_span(base, limit)
        return await self._scanned(base, rest, index, limit)

    async def _long_span(self, base: Document, limit: int) -> tuple[list[Stored], int | None]:
        """A page of more time than is worth sorting: read by number, from its newest entry on."""
        numbers = {name: bound for name, bound in base.items() if name != "at"}
        found, floor = await self._scanned(dict(numbers), {"at": base["at"]}, [("_id", -1)], limit)
        if found or floor is None:
            return found, floor
        # An entry's time is its sender's word, so no number bounds a span of times; but its index holds the numbers.
        below = {"at": base["at"], "_id": {**numbers.get("_id", {}), "$lt": floor}}
        try:
            newest = await self._newest(below)
        except ExecutionTimeout:
            return [], floor
        if newest is None:
            return [], None
        numbers["_id"] = {**below["_id"], "$lt": newest + 1}
        return await self._scanned(numbers, {"at": base["at"]}, [("_id", -1)], limit)

    async def _newest(self, times: Document) -> int | None:
        """The highest number of a span of time, from the index alone. Raises ExecutionTimeout after a second."""
        stages: list[Document] = [{"$match": times}, {"$group": {"_id": None, "newest": {"$max": "$_id"}}}]
        rows = await self._entries.aggregate(stages, hint={"at": 1, "_id": -1}, maxTimeMS=_COUNT_MS)
        found = await rows.to_list()
        return int(found[0]["newest"]) if found else None

    async def _scanned(
        self, base: Document, rest: Document, index: _Keys, limit: int
    ) -> tuple[list[Stored], int | None]:
        floor: int | None = None
        if rest:
            floor = await self._floor(base, index)
            if floor is not None:
                base["_id"] = {**base.get("_id", {}), "$gte": floor}
        rows = self._entries.find({**base, **rest}).sort("_id", -1).limit(limit + 1).max_time_ms(_QUERY_MS)
        found = await _hinted(rows, index).to_list()
        if len(found) > limit:
            return found[:limit], int(found[limit - 1]["_id"])
        return found, floor

    async def _are_many(self, times: Document, index: _Keys) -> bool:
        """Whether a span of time holds more entries than are worth sorting by number, as far as a second can tell."""
        rows = self._entries.find(times, {"_id": 1}).hint(index).skip(self._page_scan).limit(1)
        try:
            return bool(await rows.max_time_ms(_COUNT_MS).to_list())
        except ExecutionTimeout:
            return True

    async def _floor(self, base: Document, index: _Keys) -> int | None:
        """The last entry that a page of this base may look at, or None if it may look at all."""
        rows = self._entries.find(base, {"_id": 1}).sort("_id", -1).skip(self._page_scan - 1).limit(1)
        last = await _hinted(rows.max_time_ms(_QUERY_MS), index).to_list()
        return int(last[0]["_id"]) if last else None

    async def ends(self) -> tuple[int | None, int | None]:
        """The lowest and the highest number among the entries.

        Raises ChainBrokenError for an entry that has no number at all: no range of numbers would meet it.
        """
        numbered = {"_id": {"$type": "number"}}
        odd = await self._entries.find_one({"_id": {"$not": {"$type": "number"}}}, {"_id": 1})
        if odd is not None:
            raise ChainBrokenError("seq-gap", 1, 1, odd["_id"])
        first = await self._entries.find_one(numbered, {"_id": 1}, sort=[("_id", 1)])
        last = await self._entries.find_one(numbered, {"_id": 1}, sort=[("_id", -1)])
        # Outwards: an entry that lies between two numbers at an end must not pass for the one inside.
        lowest = _whole(first["_id"], ROUND_FLOOR) if first else None
        return lowest, _whole(last["_id"], ROUND_CEILING) if last else None

    async def archived_up_to(self) -> int | None:
        """None: this tier is all that it knows (`cold.tiers.TieredLog` knows both)."""
        return None

    async def walk(self, after: int, up_to: int) -> AsyncIterator[list[Stored]]:
        """The entries above one number up to another in ascending order, in batches; holds one batch at a time."""
        cursor = self._entries.find({"_id": {"$gt": after, "$lte": up_to}}).sort("_id", 1).batch_size(_BATCH)
        batch: list[Stored] = []
        async for row in cursor:
            batch.append(row)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _hinted(rows: AsyncCursor[Document], index: _Keys) -> AsyncCursor[Document]:
    return rows.hint([("_id", 1)] if len(index) == 1 else index)


def _newer(version: int) -> Document:
    return {"$gt": [version, {"$ifNull": ["$version", -1]}]}


def _plan(query: Query) -> tuple[Document, Document]:
    """The part of a query that one index answers in order, and what is left to look at entry by entry."""
    equal: Document = {
        "tenantSlug": query.tenant,
        "partnerSlug": query.partner,
        "actorEmailHmac": None if query.actor_tags is None else {"$in": list(query.actor_tags)},
        "actions": query.action,
        "source": query.source,
        "outcome": query.outcome,
    }
    rest: Document = {name: wanted for name, wanted in equal.items() if wanted is not None}
    base: Document = {}
    # From the most selective to the least; an action joins a tenant or a partner in one index.
    for leader in equal:
        if leader in rest:
            base[leader] = rest.pop(leader)
            if leader in {"tenantSlug", "partnerSlug"} and "actions" in rest:
                base["actions"] = rest.pop("actions")
            break
    bounds = {"$gte": query.since, "$lt": query.until}
    if at := {operator: moment for operator, moment in bounds.items() if moment is not None}:
        # Alone, a short time has an index of its own; beside another filter it is one more thing to look at.
        (rest if base else base)["at"] = at
    return base, rest | _looked_at(query)


def _looked_at(query: Query) -> Document:
    rest: Document = {}
    if query.partner_or_none is not None:
        rest["$or"] = [{"partnerSlug": query.partner_or_none}, {"partnerSlug": None}]
    if query.text:
        pattern: dict[str, Any] = {"$regex": re.escape(query.text), "$options": "i"}
        names = ("action", "resourceName", "tenantSlug")
        rest["$and"] = [{"$or": [{name: pattern} for name in names]}]
    return rest


def _whole(number: Any, rounding: str) -> int:
    """The nearest integer in that direction, for any number of BSON; NaN, which sorts before all others, is 0."""
    exact = number.to_decimal() if isinstance(number, Decimal128) else Decimal(number)
    if exact.is_nan():
        return 0
    if exact.is_infinite():
        return MAX_INTEGER if exact > 0 else -MAX_INTEGER
    return int(exact.to_integral_value(rounding))
