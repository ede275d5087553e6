"""Prices, subscriptions and movements in MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from services.billing.models import Price, PriceExists, Subscription
from shared.auth import Person
from shared.contracts.billing import Cycle, MovementKind
from shared.errors import StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {
    "prices": [
        Index(
            [("plan", 1), ("cycle", 1)],
            {"unique": True, "partialFilterExpression": {"archived": False}, "name": "one_live_price"},
        ),
    ],
    "subscriptions": [
        Index([("tenant_id", 1)], {"unique": True}),
        Index([("tenant_slug", 1)], {"unique": True}),
        Index([("partner", 1), ("live", 1)]),
        Index([("plan", 1), ("cycle", 1), ("currency", 1), ("live", 1), ("_id", 1)]),
    ],
    "movements": [
        Index([("currency", 1), ("at", 1)]),
        Index([("partner", 1), ("currency", 1), ("at", 1)]),
        Index([("tenant_id", 1), ("at", 1)]),
    ],
    "repricings": [Index([("open", 1), ("_id", 1)])],
}


class PriceRepository:
    """The catalog: the collections ``prices`` and ``repricings``."""

    def __init__(self, mongo: Mongo) -> None:
        self._prices = mongo.db["prices"]
        self._repricings = mongo.db["repricings"]

    async def find_across_tenants(self, price_id: str, tx: Transaction | None = None) -> Price | None:
        """Return a price by id."""
        row = await self._prices.find_one({"_id": price_id}, session=tx)
        return None if row is None else _price(row)

    async def take_amount(self, plan: str, cycle: Cycle, currency: str, tx: Transaction) -> int | None:
        """Return what a seat costs now, or None where the catalog has no price.

        Writes to the row: a price change that commits meanwhile conflicts with ``tx``. Otherwise a snapshot of the old
        amount could be stored after the change has let everybody follow.
        """
        row = await self._prices.find_one_and_update(
            {"plan": plan, "cycle": cycle, "archived": False}, {"$inc": {"snapshots": 1}}, session=tx
        )
        amount: int | None = None if row is None else row["amounts"].get(currency)
        return amount

    async def page_across_tenants(self, limit: int, cursor: str | None) -> Page[Price]:
        """Return prices by id, archived ones too."""
        after = decode_cursor(cursor, {}, (str,))
        only: Document = {} if after is None else {"_id": {"$gt": after[0]}}
        rows = await self._prices.find(only).sort("_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], {}) if len(rows) > limit else None
        return Page([_price(row) for row in rows[:limit]], more)

    async def insert(self, price: Price, tx: Transaction) -> None:
        """Store a new price.

        Raises:
            PriceExists: its plan and cycle have one that is not archived.
        """
        try:
            await self._prices.insert_one({"_id": price.id, **_fields(price)}, session=tx)
        except DuplicateKey as error:
            raise PriceExists("change it, or archive it first") from error

    async def save(self, before: Price, after: Price, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the price since ``before`` was read.
        """
        result = await self._prices.update_one(
            {"_id": before.id, "version": before.version}, {"$set": _fields(after)}, session=tx
        )
        if result.matched_count == 0:
            raise StaleVersion("read the price again and repeat the change")

    async def open_repricing(self, price: Price, event_id: str, tx: Transaction) -> None:
        """Record that the live subscriptions of a price are to follow it; a newer change replaces an older one."""
        row = {"open": True, "version": price.version, "caused_by": event_id}
        await self._repricings.update_one({"_id": price.id}, {"$set": row}, upsert=True, session=tx)

    async def open_repricings(self) -> list[tuple[Price, str]]:
        """Return the prices whose subscriptions have not all followed yet, each with the causing event."""
        found = []
        async for row in self._repricings.find({"open": True}).sort("_id", 1):
            price = await self.find_across_tenants(row["_id"])
            if price is not None:
                found.append((price, row["caused_by"]))
        return found

    async def count_repricings(self) -> int:
        """Return how many prices have subscriptions that have not followed yet."""
        return await self._repricings.count_documents({"open": True})

    async def close_repricing(self, price: Price) -> None:
        """Record that all have followed, unless the price has changed again meanwhile."""
        await self._repricings.update_one({"_id": price.id, "version": price.version}, {"$set": {"open": False}})


@dataclass(frozen=True, slots=True)
class Movement:
    """A step of recurring revenue: ``delta`` is annual, in minor units; ``caused_by`` is an event's id."""

    tenant_id: str
    partner: str | None
    currency: str
    kind: MovementKind
    delta: int
    caused_by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RevenueScope:
    """Whose revenue: everybody's, a partner's customers', or that of tenants by slug."""

    everything: bool = False
    partner: str | None = None
    tenants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, person: Person) -> RevenueScope:
        """Return what a person may see: operators all, partner people their customers', admins their own."""
        if person.is_operator:
            return cls(everything=True)
        admin_of = frozenset(slug for slug, role in person.tenants.items() if role == "admin")
        return cls(partner=person.partner.slug if person.partner else None, tenants=admin_of)

    @property
    def is_empty(self) -> bool:
        return not (self.everything or self.partner or self.tenants)

    def filter(self) -> Document:
        """Return the condition that rows within the scope meet."""
        if self.everything:
            return {}
        alternatives: list[Document] = [{"tenant_slug": {"$in": sorted(self.tenants)}}]
        if self.partner is not None:
            alternatives.append({"partner": self.partner})
        return {"$or": alternatives}


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """Annual revenue of a group in minor units of one currency, with how many subscriptions and seats make it."""

    key: str | None
    currency: str
    arr: int
    subscriptions: int
    seats: int


class SubscriptionRepository:
    """The collections ``subscriptions`` and ``movements``."""

    def __init__(self, mongo: Mongo) -> None:
        self._subscriptions = mongo.db["subscriptions"]
        self._movements = mongo.db["movements"]

    async def find_by_tenant_id(self, tenant_id: str, tx: Transaction) -> Subscription | None:
        """Return a tenant's subscription; only the consumer of its events asks without a scope."""
        row = await self._subscriptions.find_one({"tenant_id": tenant_id}, session=tx)
        return None if row is None else _subscription(row)

    async def find(self, *, scope: RevenueScope, tenant_slug: str) -> Subscription | None:
        """Return a tenant's subscription within ``scope``."""
        row = await self._subscriptions.find_one({"$and": [{"tenant_slug": tenant_slug}, scope.filter()]})
        return None if row is None else _subscription(row)

    async def page_across_tenants(self, limit: int, cursor: str | None) -> Page[Subscription]:
        """Return subscriptions by their tenants' ids, those that have ended too."""
        after = decode_cursor(cursor, {}, (str,))
        only: Document = {} if after is None else {"tenant_id": {"$gt": after[0]}}
        rows = await self._subscriptions.find(only).sort("tenant_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["tenant_id"]], {}) if len(rows) > limit else None
        return Page([_subscription(row) for row in rows[:limit]], more)

    async def save(self, before: Subscription | None, after: Subscription, tx: Transaction) -> None:
        """Store ``after`` in place of ``before``.

        Raises:
            StaleVersion: somebody changed the subscription since ``before`` was read.
        """
        # The sum that reports need is stored, because the database cannot know how a cycle counts.
        row = {**_fields(after), "arr": after.arr, "live": after.live}
        if before is None:
            await self._subscriptions.insert_one({"_id": after.id, **row}, session=tx)
            return
        result = await self._subscriptions.update_one(
            {"_id": before.id, "version": before.version}, {"$set": row}, session=tx
        )
        if result.matched_count == 0:
            raise StaleVersion("the subscription has changed meanwhile")

    async def add_movement(self, movement: Movement, tx: Transaction) -> None:
        """Record a step of revenue."""
        await self._movements.insert_one(_fields(movement, with_id=True), session=tx)

    async def behind(self, price: Price, limit: int) -> list[str]:
        """Return tenants (ids) whose live snapshot differs from a price, in any currency that it has."""
        alternatives = [
            {"currency": currency, "per_seat": {"$ne": amount}} for currency, amount in price.amounts.items()
        ]
        if not alternatives:
            return []
        only = {"plan": price.plan, "cycle": price.cycle, "live": True, "$or": alternatives}
        rows = self._subscriptions.find(only, {"tenant_id": 1}).sort("_id", 1).limit(limit)
        return [row["tenant_id"] async for row in rows]

    async def revenue(self, *, scope: RevenueScope, by: str | None) -> list[RevenueRow]:
        """Return live revenue within ``scope``, per currency and per value of the field ``by``."""
        group = {"currency": "$currency", "key": f"${by}" if by else None}
        pipeline: list[Document] = [
            {"$match": {"$and": [{"live": True}, scope.filter()]}},
            {"$group": {"_id": group, "arr": {"$sum": "$arr"}, "n": {"$sum": 1}, "seats": {"$sum": "$seats"}}},
            {"$sort": {"_id.currency": 1, "_id.key": 1}},
        ]
        return [
            RevenueRow(row["_id"]["key"], row["_id"]["currency"], row["arr"], row["n"], row["seats"])
            async for row in await self._subscriptions.aggregate(pipeline)
        ]

    async def on_row(self, price: Price, currency: str) -> AsyncIterator[Subscription]:
        """Yield the live subscriptions of a price in one currency."""
        only = {"plan": price.plan, "cycle": price.cycle, "currency": currency, "live": True}
        async for row in self._subscriptions.find(only):
            yield _subscription(row)

    async def moved(self) -> dict[str, int]:
        """Return the sum of all movements by currency; equals live revenue at every moment."""
        pipeline = [{"$group": {"_id": "$currency", "delta": {"$sum": "$delta"}}}]
        return {row["_id"]: row["delta"] async for row in await self._movements.aggregate(pipeline)}


def _fields(value: Any, *, with_id: bool = False) -> Document:
    return {f.name: getattr(value, f.name) for f in fields(value) if with_id or f.name != "id"}


def _price(row: Document) -> Price:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Price) if f.name in row}
    return Price(**{**known, "id": row["_id"]})


def _subscription(row: Document) -> Subscription:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Subscription) if f.name in row}
    return Subscription(**{**known, "id": row["_id"]})
