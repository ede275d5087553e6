"""Accepted drift: the collection ``drift_acceptances``. What has ended is in the events, not here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from services.tenant.provisioning.drift.models import Acceptance, AcceptedAlready, Difference
from shared.contracts.tenant import Integration
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {
    "drift_acceptances": [
        Index([("tenant_id", 1), ("integration", 1), ("kind", 1), ("object", 1)], {"unique": True}),
        Index([("tenant_id", 1), ("_id", 1)]),
        Index([("expires_at", 1)]),
    ],
}


class AcceptanceRepository:
    """Acceptances of one tenant, named by its immutable id."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["drift_acceptances"]

    async def insert(self, acceptance: Acceptance, tx: Transaction) -> None:
        """Keep an acceptance.

        Raises:
            AcceptedAlready: there is one for the same difference.
        """
        row = {
            "_id": acceptance.id,
            "tenant_id": acceptance.tenant_id,
            "slug": acceptance.slug,
            "integration": acceptance.integration,
            **acceptance.difference._asdict(),
            "reason": acceptance.reason,
            "by": acceptance.by,
            "created_at": acceptance.created_at,
            "expires_at": acceptance.expires_at,
            "last_seen": acceptance.last_seen,
        }
        try:
            await self._rows.insert_one(row, session=tx)
        except DuplicateKey as error:
            raise AcceptedAlready("end the other acceptance first: GET the tenant's drift") from error

    async def find(self, *, tenant_id: str, acceptance: str, tx: Transaction) -> Acceptance | None:
        row = await self._rows.find_one({"_id": acceptance, "tenant_id": tenant_id}, session=tx)
        return None if row is None else _from(row)

    async def remove(self, acceptance: Acceptance, tx: Transaction) -> bool:
        """End an acceptance; False if somebody did already."""
        return (await self._rows.delete_one({"_id": acceptance.id}, session=tx)).deleted_count == 1

    async def remove_all(self, *, tenant_id: str, tx: Transaction) -> None:
        await self._rows.delete_many({"tenant_id": tenant_id}, session=tx)

    async def count(self, *, tenant_id: str, tx: Transaction) -> int:
        return await self._rows.count_documents({"tenant_id": tenant_id}, session=tx)

    async def in_force(self, *, tenant_id: str, now: datetime) -> list[Acceptance]:
        """Return what is accepted now."""
        rows = self._rows.find({"tenant_id": tenant_id, "expires_at": {"$gt": now}})
        return [_from(row) async for row in rows]

    async def page(self, *, tenant_id: str, limit: int, cursor: str | None) -> Page[Acceptance]:
        """Return acceptances, the oldest first."""
        query = {"drift": tenant_id}
        after = decode_cursor(cursor, query, (str,))
        wanted: Document = {"tenant_id": tenant_id, **({"_id": {"$gt": after[0]}} if after else {})}
        rows = await self._rows.find(wanted).sort("_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def expired_across_tenants(self, now: datetime, limit: int) -> list[Acceptance]:
        """Return acceptances whose time is over, the longest over first."""
        found = self._rows.find({"expires_at": {"$lte": now}}).sort("expires_at", 1).limit(limit)
        return [_from(row) async for row in found]

    async def seen(
        self, *, tenant_id: str, integration: Integration, found: Collection[Difference], at: datetime
    ) -> None:
        """Record that these differences were met."""
        for one in found:
            only = {"tenant_id": tenant_id, "integration": integration, **one._asdict()}
            await self._rows.update_one(only, {"$max": {"last_seen": at}})


def _from(row: Document) -> Acceptance:
    return Acceptance(
        id=row["_id"],
        tenant_id=row["tenant_id"],
        slug=row["slug"],
        integration=row["integration"],
        difference=Difference(row["kind"], row["object"]),
        reason=row["reason"],
        by=row["by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_seen=row["last_seen"],
    )
