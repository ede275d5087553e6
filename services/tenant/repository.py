"""Tenants in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from services.tenant.models import DomainTaken, NoPriceForPlan, PartnerNotActive, SlugTaken, Tenant
from services.tenant.scope import Scope
from shared.contracts.billing import PriceState
from shared.contracts.partner import PartnerState
from shared.contracts.tenant import BillingContact, DeletionState, DomainState, OwnershipState, TenantStatus
from shared.errors import FieldError, StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction, starts_with
from shared.paging import Page, decode_cursor, encode_cursor
from shared.projections.generations import Generations
from shared.projections.models import ProjectionSpec
from shared.search import words_of

INDEXES: Mapping[str, Sequence[Index]] = {
    "tenants": [
        Index([("slug", 1)], {"unique": True}),
        # Sparse, because a tenant without domains must not collide with another.
        Index([("domains.name", 1)], {"unique": True, "sparse": True}),
        Index([("partner", 1), ("slug", 1)]),
        Index([("status", 1), ("slug", 1)]),
        Index([("plan", 1), ("slug", 1)]),
        Index([("words", 1), ("slug", 1)]),
    ],
}


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """What a list may be narrowed to; None does not narrow. ``q`` is a prefix of any word of name or slug."""

    status: str | None = None
    plan: str | None = None
    partner: str | None = None
    q: str | None = None

    def as_query(self) -> dict[str, str]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


class TenantRepository:
    """The collection ``tenants``; every read names its scope."""

    def __init__(self, mongo: Mongo) -> None:
        self._tenants = mongo.db["tenants"]

    async def find(self, *, scope: Scope, slug: str, tx: Transaction | None = None) -> Tenant | None:
        """Return the tenant if it exists within ``scope``."""
        row = await self._tenants.find_one({"$and": [{"slug": slug}, _within(scope)]}, session=tx)
        return None if row is None else _from(row)

    async def page(self, *, scope: Scope, only: TenantFilter, limit: int, cursor: str | None = None) -> Page[Tenant]:
        """Return tenants within ``scope`` by slug."""
        query = only.as_query()
        after = decode_cursor(cursor, query, (str,))
        conditions = [_within(scope), *_conditions(only)]
        if after is not None:
            conditions.append({"slug": {"$gt": after[0]}})
        found = self._tenants.find({"$and": conditions}, {"words": 0}).sort("slug", 1)
        rows = await found.limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["slug"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def statuses_across_tenants(self, slugs: Collection[str]) -> dict[str, TenantStatus]:
        """Return the status of each of these tenants that exists."""
        rows = self._tenants.find({"slug": {"$in": list(slugs)}}, {"slug": 1, "status": 1})
        return {row["slug"]: row["status"] async for row in rows}

    async def count_by_status(self, *, scope: Scope) -> dict[str, int]:
        """Return how many tenants within ``scope`` have each status."""
        pipeline = [{"$match": _within(scope)}, {"$group": {"_id": "$status", "n": {"$sum": 1}}}]
        return {row["_id"]: row["n"] async for row in await self._tenants.aggregate(pipeline)}

    async def insert(self, tenant: Tenant, tx: Transaction) -> None:
        """Store a new tenant.

        Raises:
            SlugTaken, DomainTaken: the unique index says so, whatever was read before.
        """
        try:
            await self._tenants.insert_one({"_id": tenant.id, **_document(tenant)}, session=tx)
        except DuplicateKey as error:
            raise _taken(error) from error

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


def _partner_row(state: PartnerState) -> Document:
    return {
        "_id": state.slug,
        "slug": state.slug,
        "name": state.name,
        "status": state.status,
        "version": state.version,
    }


def _price_row(state: PriceState) -> Document:
    return {
        "_id": state.id,
        "plan": state.plan,
        "cycle": state.cycle,
        "currencies": sorted(state.amounts),
        "archived": state.archived,
        "version": state.version,
    }


PARTNERS = ProjectionSpec(
    name="partners",
    owner="partner",
    snapshot="partners",
    consumer="tenant-partners",
    contract=PartnerState,
    row=_partner_row,
)
PRICES = ProjectionSpec(
    name="prices",
    owner="billing",
    snapshot="prices",
    consumer="tenant-prices",
    contract=PriceState,
    row=_price_row,
    indexes=[Index([("plan", 1), ("cycle", 1)])],
)


class PartnerProjection:
    """The projection ``partners``, from ``partner.*`` events."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, PARTNERS)

    async def apply(self, state: PartnerState, tx: Transaction) -> None:
        """Take over a partner's state, unless a newer version is known."""
        await self.generations.apply(state, tx)

    async def require_active(self, slug: str, tx: Transaction) -> None:
        """Bind ``tx`` to the partner being active: a termination that is learned meanwhile conflicts with it.

        Raises:
            PartnerNotActive: it is not, or nothing is known of it.
        """
        # In the generation that is current for this transaction: whoever applies a termination writes it, too,
        # because a generation is written for longer than a transaction may last after it was the current one.
        partners = await self.generations.current(tx)
        active = {"_id": slug, "status": "active"}
        result = await partners.update_one(active, {"$inc": {"tenants_made": 1}}, session=tx)
        if result.matched_count == 0:
            raise PartnerNotActive(f"the partner {slug!r} is not active")

    async def find(self, slug: str) -> dict[str, str] | None:
        """Return ``{slug, name, status}`` of a partner."""
        partners = await self.generations.current()
        return await partners.find_one({"_id": slug}, {"_id": 0, "slug": 1, "name": 1, "status": 1})


class PriceProjection:
    """The projection ``prices``, from ``price.*`` events."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, PRICES)

    async def apply(self, state: PriceState, tx: Transaction) -> None:
        """Take over a price's state, unless a newer version is known."""
        await self.generations.apply(state, tx)

    async def require(self, plan: str, cycle: str, currency: str, tx: Transaction) -> None:
        """Refuse what the catalog does not sell.

        Raises:
            NoPriceForPlan: no price that is not archived for plan and cycle, or none in this currency.
        """
        prices = await self.generations.current(tx)
        sold = {"plan": plan, "cycle": cycle, "currencies": currency, "archived": False}
        if await prices.find_one(sold, {"_id": 1}, session=tx) is None:
            message = f"the catalog has no price for {plan!r} per {cycle} in {currency}: choose from GET /api/prices"
            raise NoPriceForPlan(message, errors=[FieldError("plan", "no_price_for_plan", message)])


def _taken(error: DuplicateKey) -> SlugTaken | DomainTaken:
    if "domains.name" in (error.details or {}).get("keyPattern", {}):
        return DomainTaken("give a domain that no tenant uses")
    return SlugTaken("choose another slug; slugs are never used twice")


def _within(scope: Scope) -> Document:
    if scope.everything:
        return {}
    alternatives: list[Document] = [{"slug": {"$in": sorted(scope.tenants)}}]
    if scope.partner is not None:
        alternatives.insert(0, {"partner": scope.partner})
        if not scope.tenants:
            return alternatives[0]
    return {"$or": alternatives} if len(alternatives) > 1 else alternatives[0]


def _conditions(only: TenantFilter) -> list[Document]:
    exact: list[Document] = [
        {name: value} for name, value in only.as_query().items() if name in {"status", "plan", "partner"}
    ]
    if only.q:
        exact += [{"words": starts_with(word)} for word in words_of(only.q)] or [{"slug": None}]
    return exact


_NESTED = frozenset({"domains", "billing", "ownership", "deletion"})


def _document(tenant: Tenant) -> Document:
    document: Document = {f.name: getattr(tenant, f.name) for f in fields(tenant) if f.name not in {"id", *_NESTED}}
    if tenant.domains:
        document["domains"] = [domain.model_dump() for domain in tenant.domains]
    document["billing"] = tenant.billing.model_dump()
    document["ownership"] = [past.model_dump() for past in tenant.ownership]
    document["deletion"] = None if tenant.deletion is None else tenant.deletion.model_dump()
    document["words"] = words_of(tenant.name, tenant.slug)
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
