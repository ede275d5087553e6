"""How customers stand, in MongoDB: one compact document each, so that a report is one pass over an index.

Beside what the projections say, a document keeps what reports ask for in the form in which they ask: the times of
``services.partner.standings.health`` and the months of a stay. They are made anew with each write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from services.partner.customers.models import (
    Customer,
    Cut,
    ProvisioningPart,
    Stay,
    SubscriptionPart,
    TenantPart,
    UsagePart,
)
from services.partner.standings.health import LONG_AGO, Level, standing_of
from shared.mongo import Document, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {
    # The order of the keys is that of the reports; with all keys that they read, no document is fetched for a sum.
    "standings": [
        Index([("partner", 1), ("slug", 1), ("present", 1), ("risk_from", 1), ("watch_from", 1), ("cut_until", 1)]),
        Index([("partner", 1), ("cohort", 1), ("left", 1)]),
        Index([("former.partner", 1)]),
        Index([("partner", 1), ("heard_at", -1)]),
        Index(
            [
                *(("subscription.partner", 1), ("subscription.live", 1), ("subscription.currency", 1)),
                *(("subscription.arr", -1), ("slug", 1), ("subscription.plan", 1), ("subscription.seats", 1)),
            ],
            {"name": "revenue"},
        ),
    ],
}


Owner = Literal["partner", "subscription.partner"]


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """Annual revenue of a plan in minor units of one currency, and how many subscriptions and seats make it."""

    currency: str
    plan: str
    arr: int
    subscriptions: int
    seats: int


class StandingRepository:
    """The collection ``standings``; every read of reports names the partner."""

    def __init__(self, mongo: Mongo) -> None:
        self._standings = mongo.db["standings"]

    async def find_across_partners(self, tenant_ids: Sequence[str], tx: Transaction) -> list[Customer]:
        """Return how these tenants stood; of one never heard of nothing is known."""
        rows = {row["_id"]: row async for row in self._standings.find({"_id": {"$in": list(tenant_ids)}}, session=tx)}
        return [_from(rows[key]) if key in rows else Customer(key, LONG_AGO) for key in tenant_ids]

    async def save(self, customer: Customer, tx: Transaction) -> None:
        """Store how a tenant stands."""
        await self._standings.replace_one({"_id": customer.id}, _document(customer), upsert=True, session=tx)

    async def mark(self, tenant_ids: Sequence[str], lap: int) -> None:
        """Write to these standings as soon as nobody holds them: a transaction that began before, and writes one of
        them after, conflicts.
        """
        await self._standings.update_many({"_id": {"$in": list(tenant_ids)}}, {"$set": {"lap": lap}})

    async def ids(self, after: str, limit: int) -> list[str]:
        """Return the first ids of tenants that follow ``after``, in order."""
        rows = self._standings.find({"_id": {"$gt": after}}, {"_id": 1}).sort("_id", 1).limit(limit)
        return [row["_id"] async for row in rows]

    async def heard_at(self, *, partner: str) -> datetime | None:
        """Return the time of the newest event about a customer of ``partner``, or None where none has come."""
        row = await self._standings.find_one({"partner": partner}, {"heard_at": 1}, sort=[("heard_at", -1)])
        return None if row is None else row["heard_at"]

    # -- health

    async def count_by_level(self, *, partner: str, now: datetime) -> Counter[Level]:
        """Return how many customers are at each level; those that are being deleted are at none."""
        pipeline: list[Document] = [
            {"$match": {"partner": partner, "present": True}},
            {"$group": {"_id": level_at(now), "n": {"$sum": 1}}},
        ]
        return Counter({row["_id"]: row["n"] async for row in await self._standings.aggregate(pipeline)})

    async def page(
        self, *, partner: str, level: Level | None, now: datetime, limit: int, cursor: str | None
    ) -> Page[Customer]:
        """Return the customers at ``level`` (None: at any) by slug."""
        query = {"partner": partner, "level": level}
        after = decode_cursor(cursor, query, (str,))
        conditions: list[Document] = [{"partner": partner, "present": True}, at_level(level, now)]
        if after is not None:
            conditions.append({"slug": {"$gt": after[0]}})
        rows = await self._standings.find({"$and": conditions}).sort("slug", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["slug"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    # -- revenue

    async def revenue(self, *, partner: str) -> list[RevenueRow]:
        """Return live revenue by currency and plan, in this order."""
        sums = {"arr": {"$sum": "$subscription.arr"}, "n": {"$sum": 1}, "seats": {"$sum": "$subscription.seats"}}
        group = {"currency": "$subscription.currency", "plan": "$subscription.plan"}
        pipeline: list[Document] = [
            {"$match": {"subscription.partner": partner, "subscription.live": True}},
            {"$group": {"_id": group, **sums}},
            {"$sort": {"_id.currency": 1, "_id.plan": 1}},
        ]
        return [
            RevenueRow(row["_id"]["currency"], row["_id"]["plan"], row["arr"], row["n"], row["seats"])
            async for row in await self._standings.aggregate(pipeline)
        ]

    async def largest(self, *, partner: str, currency: str, limit: int) -> list[Customer]:
        """Return the customers with the most annual revenue in ``currency``; equal ones by slug."""
        paying = {"subscription.partner": partner, "subscription.live": True, "subscription.currency": currency}
        found = self._standings.find({**paying, "subscription.arr": {"$gt": 0}})
        rows = await found.sort([("subscription.arr", -1), ("slug", 1)]).limit(limit).to_list()
        return [_from(row) for row in rows]

    async def grouped(
        self, *, partner: str, owner: Owner, conditions: Sequence[Document], group: Document, sums: Document, most: int
    ) -> list[Document]:
        """Return at most ``most`` rows {``_id``: group, sum: value}, by group, of customers that meet all conditions.

        ``owner`` is who says whose they are: the tenant service of customers, billing of subscriptions.
        """
        pipeline: list[Document] = [
            {"$match": {"$and": [{owner: partner}, *conditions]}},
            {"$group": {"_id": group or None, **sums}},
            {"$sort": {f"_id.{name}": 1 for name in group} or {"_id": 1}},
            {"$limit": most},
        ]
        return await (await self._standings.aggregate(pipeline)).to_list()

    # -- cohorts

    async def stays(self, *, partner: str, since: str) -> Counter[tuple[str, str]]:
        """Return how many customers came in each month from ``since`` on and left in each: {(cohort, left): n}."""
        months = {"cohort": "$cohort", "left": "$left"}
        present: list[Document] = [
            {"$match": {"partner": partner, "cohort": {"$gte": since}}},
            {"$group": {"_id": months, "n": {"$sum": 1}}},
        ]
        former: list[Document] = [
            {"$match": {"former.partner": partner}},
            {"$unwind": "$former"},
            {"$replaceWith": "$former"},
            {"$match": {"partner": partner, "cohort": {"$gte": since}}},
            {"$group": {"_id": months, "n": {"$sum": 1}}},
        ]
        found: Counter[tuple[str, str]] = Counter()
        for pipeline in (present, former):
            async for row in await self._standings.aggregate(pipeline):
                found[row["_id"]["cohort"], row["_id"]["left"]] += row["n"]
        return found


def at_level(level: Level | None, now: datetime) -> Document:
    """Return the condition that customers at ``level`` meet now."""
    watched: Document = {"$or": [{"watch_from": {"$lt": now}}, {"cut_until": {"$gt": now}}]}
    safe: Document = {"risk_from": {"$gte": now}}
    match level:
        case "atRisk":
            return {"risk_from": {"$lt": now}}
        case "watch":
            return {**safe, **watched}
        case "healthy":
            return {**safe, "watch_from": {"$gte": now}, "cut_until": {"$lte": now}}
        case None:
            return {}


def level_at(now: datetime) -> Document:
    """Return the expression of a customer's level now."""
    watched = {"$or": [{"$lt": ["$watch_from", now]}, {"$gt": ["$cut_until", now]}]}
    branches = [{"case": {"$lt": ["$risk_from", now]}, "then": "atRisk"}, {"case": watched, "then": "watch"}]
    return {"$switch": {"branches": branches, "default": "healthy"}}


def _document(customer: Customer) -> Document:
    tenant = customer.tenant
    partner = tenant.partner if tenant is not None else None
    stays = tenant.stays if tenant is not None else ()
    own = next((stay for stay in stays if stay.partner == partner), Stay("", ""))
    row: Document = asdict(customer)
    del row["id"]
    return {
        **row,
        **asdict(standing_of(customer)),
        "partner": partner,
        "slug": tenant.slug if tenant is not None else None,
        "status": tenant.status if tenant is not None else None,
        "present": tenant is not None and tenant.status not in {"deleting", "deleted"},
        "cohort": own.cohort,
        "left": own.left,
        "former": [asdict(stay) for stay in stays if stay.partner != partner],
    }


def _from(row: Document) -> Customer:
    tenant = row["tenant"]
    return Customer(
        id=row["_id"],
        heard_at=row["heard_at"],
        tenant=None if tenant is None else TenantPart(**{**tenant, "stays": _stays(tenant["stays"])}),
        usage=_part(UsagePart, row["usage"]),
        provisioning=_part(ProvisioningPart, row["provisioning"]),
        subscription=_part(SubscriptionPart, row["subscription"]),
        cuts=tuple([Cut(**cut) for cut in row["cuts"]]),
    )


def _stays(rows: Sequence[Document]) -> tuple[Stay, ...]:
    return tuple([Stay(row["partner"], row["cohort"], row["left"]) for row in rows])


def _part(kind: Any, row: Document | None) -> Any:
    return None if row is None else kind(**row)
