"""Tenants in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from services.tenant.counts.repository import StatusCounts
from services.tenant.lists import LIST_INDEXES, PREFIXES_IN_MONGODB, Choice, Walk, walks
from services.tenant.models import DomainTaken, SlugTaken, SlugTooSimilar, Tenant
from services.tenant.scope import Scope
from shared.contracts.tenant import BillingContact, DeletionState, DomainState, OwnershipState, TenantStatus
from shared.errors import FieldError, StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor
from shared.search import prefixes_of, words_of
from shared.slugs import skeleton_of

INDEXES: Mapping[str, Sequence[Index]] = {
    "tenants": [
        Index([("slug", 1)], {"unique": True}),
        # Partial, because tenants from before the rule may look alike and keep their slugs.
        Index([("skeleton", 1)], {"unique": True, "partialFilterExpression": {"skeleton": {"$exists": True}}}),
        # Sparse, because a tenant without domains must not collide with another.
        Index([("domains.name", 1)], {"unique": True, "sparse": True}),
        Index([("partner", 1), ("slug", 1)]),
        *LIST_INDEXES,
        # What waits for its erasure is few of many.
        Index([("deletion.erase_after", 1)], {"partialFilterExpression": {"status": "deleting"}}),
    ],
}


_WITHOUT_SEARCH = {"words": 0, "prefixes": 0}


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """What a list may be narrowed to; None does not narrow. ``q`` is a prefix of any word of name or slug.

    Attributes:
        detached: without a partner, or with one.
    """

    status: str | None = None
    plan: str | None = None
    partner: str | None = None
    q: str | None = None
    detached: bool | None = None

    def as_query(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


class TenantRepository:
    """The collection ``tenants``; every read names its scope."""

    def __init__(self, mongo: Mongo) -> None:
        self._tenants = mongo.db["tenants"]
        self._counts = StatusCounts(mongo)

    async def find(self, *, scope: Scope, slug: str, tx: Transaction | None = None) -> Tenant | None:
        """Return the tenant if it exists within ``scope``."""
        row = await self._tenants.find_one({"$and": [{"slug": slug}, _within(scope)]}, session=tx)
        return None if row is None else _from(row)

    async def is_customer(self, *, partner: str, slug: str, tx: Transaction) -> bool:
        """Tell whether a tenant is this partner's; costs the same for another's tenant and for none.

        The index holds both members of the query, so neither a foreign tenant nor a missing one is fetched.
        """
        query = {"partner": partner, "slug": slug}
        found = await self._tenants.find_one(query, {"_id": 1}, session=tx, hint=[("partner", 1), ("slug", 1)])
        return found is not None

    async def page(self, *, scope: Scope, only: TenantFilter, limit: int, cursor: str | None = None) -> Page[Tenant]:
        """Return tenants within ``scope`` by slug."""
        query = only.as_query()
        after = decode_cursor(cursor, query, (str,))
        rows: list[Document] = []
        for choice in walks(scope, query, None if after is None else after[0]):
            rows += await (self._race(choice, limit + 1) if len(choice) > 1 else self._walk(choice[0], limit + 1))
        rows = sorted({row["slug"]: row for row in rows}.values(), key=_slug)
        more = encode_cursor([rows[limit - 1]["slug"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def _walk(self, walk: Walk, limit: int) -> list[Document]:
        """Return the first rows of a walk, by slug."""
        found = self._tenants.find(walk.query, _WITHOUT_SEARCH).hint(walk.index).sort("slug", 1)
        return await found.limit(limit).to_list()

    async def _race(self, choice: Choice, limit: int) -> list[Document]:
        """Return the first rows, by slug, along whichever walk finds them first.

        All go the same few steps, then ten times as many, until one has found enough or has ended: so the cost is a
        small multiple of what the best of them would have cost alone, whatever is frequent and whatever goes together.
        """
        steps = 4 * limit
        while True:
            for walk in choice:
                seen, rows = await self._walk_a_while(walk, steps, limit)
                if len(rows) == limit or seen < steps:
                    return rows
            steps *= 10

    async def _walk_a_while(self, walk: Walk, steps: int, limit: int) -> tuple[int, list[Document]]:
        """Look at no more than ``steps`` rows; return how many there were, and the first that fit."""
        fitting: list[Document] = [{"$match": walk.rest}, {"$limit": limit}, {"$unset": [*_WITHOUT_SEARCH]}]
        pipeline: list[Document] = [
            {"$match": walk.keys},
            {"$sort": {"slug": 1}},
            {"$limit": steps},
            {"$facet": {"rows": fitting, "seen": [{"$count": "rows"}]}},
        ]
        found = await self._tenants.aggregate(pipeline, hint=dict(walk.index))
        (both,) = await found.to_list()
        return both["seen"][0]["rows"] if both["seen"] else 0, both["rows"]

    async def statuses_across_tenants(self, slugs: Collection[str]) -> dict[str, TenantStatus]:
        """Return the status of each of these tenants that exists."""
        rows = self._tenants.find({"slug": {"$in": list(slugs)}}, {"slug": 1, "status": 1})
        return {row["slug"]: row["status"] async for row in rows}

    async def ending_across_tenants(self, slugs: Collection[str]) -> set[str]:
        """Return those of these tenants of which nothing will be left: being erased, deleted, or unheard of."""
        stays = {"slug": {"$in": list(slugs)}, "status": {"$ne": "deleted"}, "deletion.erasing_since": None}
        return set(slugs) - {row["slug"] async for row in self._tenants.find(stays, {"slug": 1})}

    async def due_for_erasure_across_tenants(self, now: datetime, limit: int) -> list[str]:
        """Return slugs of tenants whose time to be restored is over, the longest over first."""
        due = {"status": "deleting", "deletion.erase_after": {"$lte": now}, "deletion.erasing_since": None}
        found = self._tenants.find(due, {"slug": 1}).sort("deletion.erase_after", 1).limit(limit)
        return [row["slug"] async for row in found]

    async def count_by_status(self, *, scope: Scope) -> dict[str, int]:
        """Return how many tenants within ``scope`` have each status."""
        return await self._counts.within(scope)

    async def complete(self) -> None:
        """Give tenants from before beginnings of words were stored theirs; safe to repeat and to break off."""
        await self._tenants.update_many({"prefixes": {"$exists": False}}, [{"$set": {"prefixes": PREFIXES_IN_MONGODB}}])

    async def count_owned(self, *, partner: str, tx: Transaction) -> int:
        """Return how many tenants a partner owns that are not deleted; those that are being deleted count."""
        return await self._tenants.count_documents(_owned_by(partner), session=tx)

    async def some_owned(self, *, partner: str, limit: int, tx: Transaction) -> list[Tenant]:
        """Return the first tenants, by slug, of a partner that are not deleted."""
        rows = self._tenants.find(_owned_by(partner), session=tx).sort("slug", 1).limit(limit)
        return [_from(row) async for row in rows]

    async def insert(self, tenant: Tenant, tx: Transaction) -> None:
        """Store a new tenant.

        Raises:
            SlugTaken, SlugTooSimilar, DomainTaken: the unique index says so, whatever was read before.
        """
        row = {"_id": tenant.id, **_document(tenant), "skeleton": skeleton_of(tenant.slug)}
        try:
            await self._tenants.insert_one(row, session=tx)
        except DuplicateKey as error:
            raise _taken(error) from error
        await self._counts.moved(None, tenant, tx)

    async def save(self, before: Tenant, after: Tenant, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the tenant since ``before`` was read.
            DomainTaken: a domain belongs to another tenant.
        """
        change: Document = {"$set": _document(after)}
        if not after.domains:  # absent, because the unique index on them is sparse
            change["$unset"] = {"domains": ""}
        try:
            result = await self._tenants.update_one({"_id": before.id, "version": before.version}, change, session=tx)
        except DuplicateKey as error:
            raise _taken(error) from error
        if result.matched_count == 0:
            raise StaleVersion("read the tenant again and repeat the change")
        await self._counts.moved(before, after, tx)


@dataclass(frozen=True, slots=True)
class PartnerMove:
    """An operator's wish that a partner's tenants pass to another one, because the partner of this version ends."""

    partner: str
    version: int
    to: str


class PartnerMoves:
    """What is left to move: the collection ``partner_moves``, one row per partner that ends."""

    def __init__(self, mongo: Mongo) -> None:
        self._moves = mongo.db["partner_moves"]

    async def open(self, move: PartnerMove, tx: Transaction) -> None:
        """Record a move; a newer one of the same partner takes the place of an older one."""
        row = {"version": move.version, "to": move.to}
        await self._moves.replace_one({"_id": move.partner}, row, upsert=True, session=tx)

    async def first(self) -> PartnerMove | None:
        """Return a move that is not finished."""
        row = await self._moves.find_one({}, sort=[("_id", 1)])
        return None if row is None else PartnerMove(row["_id"], row["version"], row["to"])

    async def still_open(self, move: PartnerMove, tx: Transaction) -> bool:
        """Tell whether nobody has finished ``move`` meanwhile."""
        return await self._moves.find_one({"_id": move.partner, "version": move.version}, session=tx) is not None

    async def close(self, move: PartnerMove, tx: Transaction) -> None:
        """Record that ``move`` has been answered."""
        await self._moves.delete_one({"_id": move.partner, "version": move.version}, session=tx)


def _taken(error: DuplicateKey) -> SlugTaken | SlugTooSimilar | DomainTaken:
    violated = (error.details or {}).get("keyValue", {})
    if "domains.name" in violated:
        message = f"{violated['domains.name']} belongs to another tenant: give a domain that no tenant uses"
        return DomainTaken(message, errors=[FieldError("domains", "domain_taken", message)])
    if "skeleton" in violated:
        message = "it could be taken for the slug of another tenant: choose one that looks different"
        return SlugTooSimilar(message, errors=[FieldError("slug", "slug_too_similar", message)])
    return SlugTaken("choose another slug; slugs are never used twice")


def _owned_by(partner: str) -> Document:
    return {"partner": partner, "status": {"$ne": "deleted"}}


def _within(scope: Scope) -> Document:
    if scope.everything:
        return {}
    alternatives: list[Document] = [{"slug": {"$in": sorted(scope.tenants)}}]
    if scope.partner is not None:
        alternatives.insert(0, {"partner": scope.partner})
        if not scope.tenants:
            return alternatives[0]
    return {"$or": alternatives} if len(alternatives) > 1 else alternatives[0]


def _slug(row: Document) -> str:
    slug: str = row["slug"]
    return slug


_NESTED = frozenset({"domains", "billing", "ownership", "deletion"})


def _document(tenant: Tenant) -> Document:
    document: Document = {f.name: getattr(tenant, f.name) for f in fields(tenant) if f.name not in {"id", *_NESTED}}
    if tenant.domains:
        document["domains"] = [domain.model_dump() for domain in tenant.domains]
    document["billing"] = tenant.billing.model_dump()
    document["ownership"] = [past.model_dump() for past in tenant.ownership]
    document["deletion"] = None if tenant.deletion is None else tenant.deletion.model_dump()
    document["words"] = words_of(tenant.name, tenant.slug)
    document["prefixes"] = prefixes_of(tenant.name, tenant.slug)
    return document


_PLAIN = tuple(f.name for f in fields(Tenant) if f.name not in {"id", *_NESTED})


def _from(row: Document) -> Tenant:
    known: dict[str, Any] = {name: row[name] for name in _PLAIN if name in row}
    known["id"] = row["_id"]
    known["domains"] = tuple([DomainState.model_validate(d) for d in row.get("domains", ())])
    known["billing"] = BillingContact.model_validate(row.get("billing", {}))
    known["ownership"] = tuple([OwnershipState.model_validate(past) for past in row.get("ownership", ())])
    if (deletion := row.get("deletion")) is not None:
        known["deletion"] = DeletionState.model_validate(deletion)
    return Tenant(**known)
