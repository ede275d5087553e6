"""Flags and the tenants that they are evaluated for, in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from services.flags.models import Flag, FlagChange, FlagExists
from shared.auth import Person
from shared.contracts.flag import FlagScopeState
from shared.contracts.tenant import TenantState
from shared.errors import StaleVersion
from shared.flags import FlagScope, FlagSubject
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor
from shared.projections.generations import Projection
from shared.projections.models import ProjectionSpec

INDEXES: Mapping[str, Sequence[Index]] = {
    "flags": [Index([("deleted", 1), ("_id", 1)])],
}


class FlagRepository:
    """The collection ``flags``, by key; a deleted flag leaves its version behind."""

    def __init__(self, mongo: Mongo) -> None:
        self._flags = mongo.db["flags"]
        self._seeded = mongo.db["seeds"]

    async def find_across_tenants(
        self, key: str, tx: Transaction | None = None, *, deleted: bool = False
    ) -> Flag | None:
        """Return a flag; a deleted one only if asked for."""
        row = await self._flags.find_one({"_id": key, "deleted": {"$in": [False, deleted]}}, session=tx)
        return None if row is None else _from(row)

    async def all_across_tenants(self) -> list[Flag]:
        """Return every flag that is not deleted."""
        return [_from(row) async for row in self._flags.find({"deleted": False}).sort("_id", 1)]

    async def page_across_tenants(self, limit: int, cursor: str | None) -> Page[Flag]:
        """Return flags by key."""
        after = decode_cursor(cursor, {}, (str,))
        only: Document = {"deleted": False, **({} if after is None else {"_id": {"$gt": after[0]}})}
        rows = await self._flags.find(only).sort("_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], {}) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def insert(self, flag: Flag, tx: Transaction) -> None:
        """Store a flag whose key was never used.

        Raises:
            FlagExists: it was.
        """
        try:
            await self._flags.insert_one({"_id": flag.key, **_document(flag)}, session=tx)
        except DuplicateKey as error:
            raise FlagExists(f"change the flag {flag.key!r} instead") from error

    async def save(self, before: Flag, after: Flag, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the flag since ``before`` was read.
        """
        result = await self._flags.update_one(
            {"_id": before.key, "version": before.version}, {"$set": _document(after)}, session=tx
        )
        if result.matched_count == 0:
            raise StaleVersion("read the flag again and repeat the change")

    async def claim_seed(self, key: str, tx: Transaction) -> bool:
        """Return True once in the life of this database: a seed is never put over an operator's edit."""
        result = await self._seeded.update_one({"_id": key}, {"$setOnInsert": {"done": True}}, upsert=True, session=tx)
        return result.upserted_id is not None


@dataclass(frozen=True, slots=True)
class FlagTenant:
    """What this service knows of a tenant."""

    tenant_id: str
    slug: str
    plan: str
    partner: str | None

    def as_subject(self, environment: str) -> FlagSubject:
        """Return what flags are evaluated for."""
        return FlagSubject(self.tenant_id, self.slug, self.plan, self.partner, environment)


def _tenant_row(state: TenantState) -> Document:
    return {
        "_id": state.slug,
        "tenant_id": state.id,
        "plan": state.plan,
        "partner": state.partner,
        "deleted": state.status == "deleted",
        "version": state.version,
    }


TENANTS = ProjectionSpec(
    name="tenants",
    owner="tenant",
    snapshot="tenants",
    consumer="flags-tenants",
    contract=TenantState,
    row=_tenant_row,
    indexes=[Index([("partner", 1), ("_id", 1)]), Index([("plan", 1), ("_id", 1)])],
)


class TenantProjection(Projection[TenantState]):
    """The projection ``tenants``, from ``tenant.*`` events."""

    spec = TENANTS

    async def find(self, *, reader: Person, slug: str) -> FlagTenant | None:
        """Return a tenant that ``reader`` may evaluate flags for."""
        tenants = await self.generations.current()
        row = await tenants.find_one({"$and": [{"_id": slug, "deleted": False}, _visible_to(reader)]})
        return None if row is None else _tenant(row)

    async def matching_across_tenants(self, scope: FlagScope, after: str | None, limit: int) -> list[FlagTenant]:
        """Return tenants that a scope's plans, partners and slugs admit, by slug after ``after``."""
        only: list[Document] = [{"deleted": False}]
        for name, values in (
            ("plan", scope.plans),
            ("partner", scope.partner_slugs),
            ("_id", scope.tenant_slugs),
        ):
            if values:
                only.append({name: {"$in": sorted(values)}})
        if after is not None:
            only.append({"_id": {"$gt": after}})
        tenants = await self.generations.current()
        rows = tenants.find({"$and": only}).sort("_id", 1).limit(limit)
        return [_tenant(row) async for row in rows]

    async def count_across_tenants(self) -> int:
        """Return the number of tenants."""
        return await (await self.generations.current()).count_documents({"deleted": False})


def _visible_to(reader: Person) -> Document:
    if reader.is_operator:
        return {}
    alternatives: list[Document] = [{"_id": {"$in": sorted(reader.tenants)}}]
    if reader.partner is not None:
        alternatives.append({"partner": reader.partner.slug})
    return {"$or": alternatives}


def _tenant(row: Document) -> FlagTenant:
    return FlagTenant(row["tenant_id"], row["_id"], row["plan"], row["partner"])


def _document(flag: Flag) -> Document:
    document: Document = {f.name: getattr(flag, f.name) for f in fields(flag) if f.name != "key"}
    document["scope"] = flag.scope.model_dump(mode="json")
    document["history"] = [asdict(step) for step in flag.history]
    return document


def _from(row: Document) -> Flag:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Flag) if f.name in row}
    known["key"] = row["_id"]
    known["scope"] = FlagScopeState.model_validate(row["scope"])
    known["history"] = tuple(FlagChange(**step) for step in row["history"])
    return Flag(**known)
