"""What is kept of erasures beside the tombstones: the collection ``erasures``. It holds ids, times and counts."""

from __future__ import annotations

from datetime import datetime

from services.tenant.people.erasure.report.models import TENANT, Kept, Part
from services.tenant.people.models import Human
from services.tenant.provisioning.repository import ProvisionedUsers, ProvisioningRepository
from shared.mongo import Document, Mongo, Transaction


class ErasureBook:
    """A row per erased person, by id, kept as long as the tombstone.

    Every write adds to what is there, so they may come in any order, and an answer before the erasure itself.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["erasures"]
        self._provisioning = ProvisioningRepository(mongo)
        self._file_users = ProvisionedUsers(mongo)

    async def begin(self, before: Human, tx: Transaction) -> None:
        """Keep where the person was, before that is forgotten."""
        slugs = {*before.tenants, *(await self._provisioning.slugs_about(before.id, tx))}
        found = {"tenants": sorted(slugs), "file_user": await self._file_users.made(before.id, tx)}
        await self._rows.update_one({"_id": before.id}, {"$set": found}, upsert=True, session=tx)

    async def add(self, person: str, service: str, part: Part, tx: Transaction | None = None) -> None:
        """Add what a service has forgotten; the counts add up, and the latest moment stays.

        A service that was restored from a backup forgets again, and answers again.
        """
        counts = {"events": part.events, "answers": part.answers}
        if part.keys is not None:
            counts["keys"] = part.keys
        change: Document = {"$inc": {f"services.{service}.{name}": count for name, count in counts.items()}}
        if part.forgotten_at is not None:
            change["$max"] = {f"services.{service}.at": part.forgotten_at}
        await self._rows.update_one({"_id": person}, change, upsert=True, session=tx)

    async def keep_account(self, person: str) -> None:
        """Keep that the identity provider's account stays, because it was somebody's before."""
        await self._rows.update_one({"_id": person}, {"$set": {"account_kept": True}}, upsert=True)

    async def end(self, person: str, at: datetime, tx: Transaction) -> None:
        """Keep when this service looked for the last time."""
        await self.add(person, TENANT, Part(at, 0, 0), tx)

    async def find(self, person: str) -> Kept:
        """Return what is kept of an erasure; nothing for one that nobody has told anything of."""
        row = await self._rows.find_one({"_id": person}) or {}
        parts = {
            name: Part(part.get("at"), part["events"], part["answers"], part.get("keys"))
            for name, part in row.get("services", {}).items()
        }
        tenants, file_user = tuple(row.get("tenants", ())), bool(row.get("file_user"))
        return Kept(parts, tenants, file_user, bool(row.get("account_kept")))
