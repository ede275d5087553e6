"""Verifications that run as jobs, in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.mongo import Database, Document, Index, Transaction

KEPT_DAYS = 90
INDEXES: Mapping[str, Sequence[Index]] = {
    "verifications": [
        Index([("state", 1), ("_id", 1)]),
        Index([("endedAt", 1)], {"expireAfterSeconds": KEPT_DAYS * 86_400}),
    ]
}


class VerificationRepository:
    """The collection `verifications`: {_id, state, at, scope, verified, of, saved, result, endedAt}."""

    def __init__(self, db: Database) -> None:
        self._rows = db["verifications"]

    async def add(self, row: Document, tx: Transaction) -> None:
        await self._rows.insert_one(row, session=tx)

    async def count_open(self, tx: Transaction) -> int:
        return await self._rows.count_documents({"state": "open"}, session=tx)

    async def find(self, job: str) -> Document | None:
        return await self._rows.find_one({"_id": job})

    async def oldest_open(self) -> Document | None:
        return await self._rows.find_one({"state": "open"}, sort=[("_id", 1)])

    async def save(self, job: str, members: Mapping[str, Any], tx: Transaction) -> None:
        await self._rows.update_one({"_id": job, "state": "open"}, {"$set": dict(members)}, session=tx)
