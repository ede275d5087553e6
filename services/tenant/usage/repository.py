"""Usage in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date

from services.tenant.usage.models import Usage
from shared.mongo import Document, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {"usage": [Index([("tenant_id", 1)])]}
DONE = {"_id": "backfilled"}


class UsageRepository:
    """The collection ``usage``: a row per tenant, by slug, because a slug is never used twice."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["usage"]
        self._tenants = mongo.db["tenants"]
        self._marks = mongo.db["usage_marks"]

    async def take(self, slug: str, tx: Transaction) -> Usage | None:
        """Return the row of a tenant, None for a tenant that there is not; a version of 0 is no row yet."""
        row = await self._rows.find_one({"_id": slug}, {"_id": 0, "writes": 0}, session=tx)
        only = {"_id": 1, "partner": 1}
        tenant = await self._tenants.find_one({"slug": slug}, only, session=tx)
        if tenant is None:
            return None
        known = row or {}
        return Usage(**{**known, "tenant_id": tenant["_id"], "slug": slug, "partner": tenant["partner"]})

    async def put(self, usage: Usage, tx: Transaction) -> None:
        """Store the row.

        It is written also where nothing in it changes: of two transactions that count the same tenant's seats one
        repeats, because under snapshot isolation neither sees the other's person.
        """
        change = {"$set": asdict(usage), "$inc": {"writes": 1}}
        await self._rows.update_one({"_id": usage.slug}, change, upsert=True, session=tx)

    async def behind(self, slugs: Collection[str], on: date) -> bool:
        """Tell whether one of these tenants has not been seen used on this day."""
        current = {"_id": {"$in": list(slugs)}, "last_sign_in_on": {"$gte": on.isoformat()}}
        return await self._rows.count_documents(current) < len(slugs)

    async def page_across_tenants(self, limit: int, cursor: str | None) -> Page[Usage]:
        """Return what was told of every tenant, by its id; of one without people nothing was."""
        after = decode_cursor(cursor, {}, (str,))
        only: Document = {} if after is None else {"tenant_id": {"$gt": after[0]}}
        rows = await self._rows.find(only, {"_id": 0, "writes": 0}).sort("tenant_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["tenant_id"]], {}) if len(rows) > limit else None
        return Page([Usage(**row) for row in rows[:limit]], more)

    async def without_row(self, after: str, limit: int) -> tuple[list[str], str | None]:
        """Look at ``limit`` tenants whose slugs follow ``after``.

        Return those with people and without a row, and the last slug looked at: None at the end.
        """
        pipeline: list[Document] = [
            {"$match": {"slug": {"$gt": after}}},
            {"$sort": {"slug": 1}},
            {"$limit": limit},
            {"$project": {"slug": 1}},
            {"$lookup": {"from": "usage", "localField": "slug", "foreignField": "_id", "as": "row"}},
            {
                "$lookup": {
                    "from": "people",
                    "localField": "slug",
                    "foreignField": "tenant_slugs",
                    "pipeline": [{"$limit": 1}, {"$project": {"_id": 1}}],
                    "as": "people",
                }
            },
        ]
        rows = [row async for row in await self._tenants.aggregate(pipeline)]
        found = [row["slug"] for row in rows if row["people"] and not row["row"]]
        return found, rows[-1]["slug"] if len(rows) == limit else None

    async def is_complete(self) -> bool:
        """Tell whether every tenant from before this collection was looked at."""
        return await self._marks.find_one(DONE) is not None

    async def complete(self) -> None:
        """Record that they were: whoever comes later gets a row with the first change."""
        await self._marks.update_one(DONE, {"$currentDate": {"at": True}}, upsert=True)
