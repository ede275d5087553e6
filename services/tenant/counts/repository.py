"""Counts of tenants per status, kept and not counted: ``tenant_counts`` and what was not yet added to them.

A change that moves a tenant between statuses or partners adds a row to ``tenant_moves``, in its own transaction. Rows
that are only inserted let changes of one partner's tenants go on beside each other; to increment a common count, all
but one of them would have to be repeated. Whoever reads the counts adds up the rows that there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from pymongo import UpdateOne

from services.tenant.models import Tenant
from services.tenant.scope import Scope
from shared.mongo import Document, Mongo, Transaction

ALL = "*"
FOLDED_AT_ONCE = 1_000


class StatusCounts:
    """The collections ``tenant_counts``, a row for all tenants and one per partner, and ``tenant_moves``."""

    def __init__(self, mongo: Mongo) -> None:
        self._tenants = mongo.db["tenants"]
        self._counts = mongo.db["tenant_counts"]
        self._moves = mongo.db["tenant_moves"]
        self._transactions = mongo.transactions

    async def moved(self, before: Tenant | None, after: Tenant, tx: Transaction) -> None:
        """Record, together with a change, where a tenant was counted and where it is now."""
        old = None if before is None else (before.partner, before.status)
        new = (after.partner, after.status)
        if old != new:
            await self._moves.insert_one({"from": old, "to": new}, session=tx)

    async def within(self, scope: Scope) -> dict[str, int]:
        """Return how many tenants within ``scope`` have each status. Reads a row, whatever the number of tenants."""
        counts: Counter[str] = Counter()
        row = ALL if scope.everything else _row_of(scope.partner)
        if row is not None:
            counts.update(await self._current(row))
        if not scope.everything and scope.tenants:
            counts.update(await self._named(scope))
        return {status: count for status, count in counts.items() if count}

    async def _named(self, scope: Scope) -> dict[str, int]:
        """Count the tenants that a scope names, without those that it has by their partner."""
        named: Document = {"slug": {"$in": sorted(scope.tenants)}}
        if scope.partner is not None:
            named["partner"] = {"$ne": scope.partner}
        pipeline = [{"$match": named}, {"$group": {"_id": "$status", "n": {"$sum": 1}}}]
        return {row["_id"]: row["n"] async for row in await self._tenants.aggregate(pipeline)}

    async def _current(self, row: str) -> dict[str, int]:
        left = True
        while left:
            left, counts = await self._transactions.run(lambda tx: self._folded(row, tx))
        return counts

    async def _folded(self, row: str, tx: Transaction) -> tuple[bool, dict[str, int]]:
        """Add moves to the counts; return whether there may be more, and the counts of ``row``."""
        if await self._counts.find_one({"_id": ALL}, {"_id": 1}, session=tx) is None:
            await self._count_all(tx)
        moves = await self._moves.find({}, session=tx).limit(FOLDED_AT_ONCE).to_list()
        if moves:
            await self._counts.bulk_write(_additions(moves), ordered=False, session=tx)
            await self._moves.delete_many({"_id": {"$in": [move["_id"] for move in moves]}}, session=tx)
        found = await self._counts.find_one({"_id": row}, {"_id": 0}, session=tx)
        return len(moves) == FOLDED_AT_ONCE, found or {}

    async def _count_all(self, tx: Transaction) -> None:
        """Count every tenant: once, or again after an operator dropped the counts. Reads index keys only."""
        group = {"_id": {"partner": "$partner", "status": "$status"}, "n": {"$sum": 1}}
        rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        rows[ALL] = Counter()
        hint = {"partner": 1, "status": 1, "slug": 1}
        async for found in await self._tenants.aggregate([{"$group": group}], session=tx, hint=hint):
            for row in _rows_of(found["_id"].get("partner")):
                rows[row][found["_id"]["status"]] += found["n"]
        await self._counts.insert_many([{"_id": row, **counts} for row, counts in rows.items()], session=tx)
        await self._moves.delete_many({}, session=tx)


def _additions(moves: list[Document]) -> list[UpdateOne]:
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for move in moves:
        for place, sign in ((move["from"], -1), (move["to"], 1)):
            if place is not None:
                partner, status = place
                for row in _rows_of(partner):
                    sums[row][status] += sign
    return [UpdateOne({"_id": row}, {"$inc": dict(counts)}, upsert=True) for row, counts in sums.items()]


def _row_of(partner: str | None) -> str | None:
    return None if partner is None else f"partner:{partner}"


def _rows_of(partner: str | None) -> list[str]:
    row = _row_of(partner)
    return [ALL] if row is None else [ALL, row]
