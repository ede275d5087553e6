"""Conditions, foreign ids and the queue of tenants to compare: the collection ``provisioning``."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, cast

import structlog
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from services.tenant.models import Tenant
from services.tenant.provisioning.drift.models import Difference
from services.tenant.provisioning.models import Agreement, Condition
from shared.contracts.tenant import DriftState, Integration, ProvisioningState
from shared.leases import LeaseLost
from shared.mongo import Document, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

log = structlog.get_logger()

INDEXES: Mapping[str, Sequence[Index]] = {
    "provisioning": [
        Index([("slug", 1)], {"unique": True}),
        Index([("next_at", 1)]),
        # Those that do not agree, which are counted now and then.
        Index([("attempts", 1)], {"partialFilterExpression": {"attempts": {"$gt": 0}}, "name": "failing"}),
        Index([("people", 1)]),
    ],
    "provisioned_users": [],
}
PEOPLE_IN_MEMOS = ("accounts", "users", "shut_out")
"""Names under which a memo maps ids of people to foreign objects of theirs."""
_CHANGED_PEOPLE: Document = {
    "ns.coll": "people",
    # Being seen is no change: only what counts as a version is.
    "$or": [{"operationType": {"$ne": "update"}}, {"updateDescription.updatedFields.version": {"$exists": True}}],
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is known about one tenant.

    Attributes:
        version: counts the changes of conditions that others were told.
        wanted: counts how often a comparison was asked for.
        memos: by integration, what its part remembers.
        agreed: by integration that agreed when it was last looked at, on what.
        drift: by integration, what was found otherwise and is not told yet.
        left: what is otherwise and is left to whoever made it.
    """

    tenant_id: str
    slug: str
    version: int = 0
    wanted: int = 0
    attempts: int = 0
    conditions: dict[Integration, Condition] = field(default_factory=dict)
    memos: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreed: dict[Integration, Agreement] = field(default_factory=dict)
    drift: dict[Integration, list[Difference]] = field(default_factory=dict)
    left: tuple[DriftState, ...] = ()

    @property
    def remembered(self) -> set[str]:
        """The ids of people of whom an integration's part remembers something."""
        maps = (memo.get(name) or {} for memo in self.memos.values() for name in PEOPLE_IN_MEMOS)
        return {person for one in maps for person in one}

    @property
    def state(self) -> ProvisioningState:
        """The state that events and snapshots carry."""
        conditions = {name: condition.as_state() for name, condition in self.conditions.items()}
        return ProvisioningState(tenant_id=self.tenant_id, slug=self.slug, conditions=conditions, version=self.version)


class ProvisioningRepository:
    """A row per tenant. Whoever works on a tenant writes under the fencing token of its lease."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["provisioning"]
        self._db = mongo.db

    async def want(self, tenant: Tenant, tx: Transaction | None = None) -> None:
        """Ask for a comparison now, whatever failed before."""
        await self._rows.update_one(
            {"_id": tenant.id},
            [{"$set": {"slug": tenant.slug, "attempts": 0, **_WANTED}}],
            upsert=True,
            session=tx,
        )

    async def want_for(self, person: str, slugs: Collection[str]) -> None:
        """Ask for a comparison of the tenants in which a person is, and of those in which they were last seen."""
        query = {"$or": [{"people": person}, {"slug": {"$in": list(slugs)}}]}
        await self._rows.update_many(query, [{"$set": _WANTED}])

    async def want_all_missing(self, limit: int = 1_000) -> int:
        """Make rows for tenants that have none: those from before any integration was configured."""
        lookup = {"from": "provisioning", "localField": "_id", "foreignField": "_id", "as": "row"}
        pipeline: list[Document] = [
            {"$lookup": lookup},
            {"$match": {"row": {"$size": 0}}},
            {"$project": {"slug": 1}},
            {"$limit": limit},
        ]
        count = 0
        async for known in await self._db["tenants"].aggregate(pipeline):
            change: list[Document] = [{"$set": {"slug": known["slug"], "attempts": 0, **_WANTED}}]
            await self._rows.update_one({"_id": known["_id"]}, change, upsert=True)
            count += 1
        return count

    async def find(self, tenant_ids: Collection[str], tx: Transaction | None = None) -> dict[str, Row]:
        """Return the rows that there are, by tenant id; without memos."""
        rows = self._rows.find({"_id": {"$in": list(tenant_ids)}}, {"memos": 0, "people": 0}, session=tx)
        return {row["_id"]: _from(row) async for row in rows}

    async def slugs_about(self, person: str, tx: Transaction) -> list[str]:
        """Return the slugs of the tenants whose comparisons concern a person."""
        return [row["slug"] async for row in self._rows.find({"people": person}, {"slug": 1}, session=tx)]

    async def about(self, person: str, slugs: Collection[str]) -> list[Row]:
        """Return the rows that concern a person, and those of named tenants, by slug; with memos."""
        query = {"$or": [{"people": person}, {"slug": {"$in": list(slugs)}}]}
        return [_from(row) async for row in self._rows.find(query, {"people": 0}).sort("slug", 1)]

    async def page_across_tenants(self, limit: int, cursor: str | None) -> Page[Row]:
        """Return the rows of which something was told, by tenant id; without memos."""
        after = decode_cursor(cursor, {}, (str,))
        told: Document = {"version": {"$gt": 0}} | ({} if after is None else {"_id": {"$gt": after[0]}})
        rows = await self._rows.find(told, {"memos": 0, "people": 0}).sort("_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], {}) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def due(self, limit: int, besides: Collection[str]) -> list[str]:
        """Return ids of tenants whose time has come, the longest due first."""
        # What is never looked at again has no such time, and nothing would be less than now.
        query = {"next_at": {"$type": "date"}, "$expr": {"$lte": ["$next_at", "$$NOW"]}, "_id": {"$nin": list(besides)}}
        found = self._rows.find(query, {"_id": 1}).sort("next_at", 1).limit(limit)
        return [row["_id"] async for row in found]

    async def failing_across_tenants(self) -> int:
        """Return how many tenants do not agree with some integration, after one attempt or more."""
        return await self._rows.count_documents({"attempts": {"$gt": 0}})

    async def overdue_across_tenants(self) -> int:
        """Return for how many seconds the tenant that is due longest has been."""
        steps: list[Document] = [
            {"$match": {"next_at": {"$type": "date"}}},
            {"$sort": {"next_at": 1}},
            {"$limit": 1},
            {"$project": {"late": {"$dateDiff": {"startDate": "$next_at", "endDate": "$$NOW", "unit": "second"}}}},
        ]
        rows = [row async for row in await self._rows.aggregate(steps)]
        return max(0, int(rows[0]["late"])) if rows else 0

    async def take(self, tenant_id: str, token: int) -> Row:
        """Return the row, closed to every holder of an older lease from now on.

        Raises:
            LeaseLost: a newer holder was here.
        """
        older = {"$or": [{"fence": {"$lte": token}}, {"fence": {"$exists": False}}]}
        row = await self._rows.find_one_and_update(
            {"_id": tenant_id, **older}, {"$set": {"fence": token}}, return_document=ReturnDocument.AFTER
        )
        return _from(_held(row))

    async def remember(self, tenant_id: str, token: int, integration: str, changes: Mapping[str, Any]) -> None:
        """Keep what an integration's part must not forget, by path; None is forgotten.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        kept = {f"memos.{integration}.{path}": value for path, value in changes.items() if value is not None}
        gone = {f"memos.{integration}.{path}": "" for path, value in changes.items() if value is None}
        change = {verb: paths for verb, paths in (("$set", kept), ("$unset", gone)) if paths}
        result = await self._rows.update_one({"_id": tenant_id, "fence": token}, change)
        _held(result.matched_count or None)

    async def found(self, tenant_id: str, token: int, integration: str, drift: Sequence[Difference]) -> None:
        """Keep what was found otherwise, before it is repaired.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        change = {"$set": {f"drift.{integration}": [list(one) for one in drift]}}
        result = await self._rows.update_one({"_id": tenant_id, "fence": token}, change)
        _held(result.matched_count or None)

    async def left(self, tenant_id: str) -> tuple[DriftState, ...]:
        """Return what the last comparison left to whoever made it."""
        row = await self._rows.find_one({"_id": tenant_id}, {"left": 1})
        return tuple(DriftState.model_validate(one) for one in (row or {}).get("left", ()))

    async def expect(self, tenant_id: str, token: int, people: Sequence[str]) -> None:
        """Keep who the tenant's people are, before anything is done about them: their changes concern it from now on.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        result = await self._rows.update_one({"_id": tenant_id, "fence": token}, {"$set": {"people": list(people)}})
        _held(result.matched_count or None)

    async def settle(self, row: Row, token: int, delay: timedelta | None, tx: Transaction) -> None:
        """Keep the findings in ``row``; look again after ``delay`` (None: never), or at once if that was asked for.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        later: Any = "$$REMOVE" if delay is None else _from_now(delay)
        told = {name: [list(one) for one in drift] for name, drift in row.drift.items() if drift}
        change: Document = {
            "version": row.version,
            "attempts": row.attempts,
            "conditions": {"$literal": {name: asdict(condition) for name, condition in row.conditions.items()}},
            "agreed": {"$literal": {name: asdict(agreement) for name, agreement in row.agreed.items()}},
            "drift": {"$literal": told},
            "left": {"$literal": [one.model_dump() for one in row.left]},
            "next_at": {"$cond": [{"$eq": ["$wanted", row.wanted]}, later, "$$NOW"]},
        }
        result = await self._rows.update_one({"_id": row.tenant_id, "fence": token}, [{"$set": change}], session=tx)
        _held(result.matched_count or None)

    async def retire(self, row: Row, token: int, tx: Transaction) -> None:
        """Keep the conditions of a tenant that is deleted, forget all else, and never look again unless asked to.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        conditions = {name: asdict(condition) for name, condition in row.conditions.items()}
        change: Document = {
            "$set": {"conditions": conditions, "attempts": 0},
            "$unset": dict.fromkeys(("next_at", "memos", "agreed", "drift", "left", "people"), ""),
        }
        result = await self._rows.update_one({"_id": row.tenant_id, "fence": token}, change, session=tx)
        _held(result.matched_count or None)

    async def postpone(self, tenant_id: str, token: int, delay: timedelta) -> None:
        """Look again after ``delay``, without a word about how it is."""
        change: list[Document] = [{"$set": {"next_at": _from_now(delay)}}]
        await self._rows.update_one({"_id": tenant_id, "fence": token}, change)

    async def changes(self) -> AsyncIterator[tuple[str, list[str]] | None]:
        """Yield who changed and the slugs of their tenants, and None for a change of a tenant; ends with the stream."""
        interesting = [{"$match": {"$or": [_CHANGED_PEOPLE, {"ns.coll": "tenants"}]}}]
        try:
            async with await self._db.watch(interesting, full_document="updateLookup") as stream:
                async for change in stream:
                    if change["ns"]["coll"] == "tenants":
                        yield None
                    else:
                        slugs = (change.get("fullDocument") or {}).get("tenant_slugs", [])
                        yield change["documentKey"]["_id"], slugs
        except PyMongoError as error:
            log.warning("provisioning.watch_lost", error=type(error).__name__)


_WANTED: Document = {"wanted": {"$add": [{"$ifNull": ["$wanted", 0]}, 1]}, "next_at": "$$NOW"}


def jittered(resync: timedelta) -> timedelta:
    """Return about as long, so that what was made together is not compared together for ever."""
    return resync * (0.9 + 0.2 * random.random())  # noqa: S311 - jitter


def _held(found: Any) -> Any:
    if found is None:
        raise LeaseLost("another replica works on this tenant now")
    return found


def _from_now(delay: timedelta) -> Document:
    return {"$add": ["$$NOW", int(delay.total_seconds() * 1000)]}


def _from(row: Document) -> Row:
    kept, drift = row.get("conditions", {}), row.get("drift", {})
    return Row(
        tenant_id=row["_id"],
        slug=row["slug"],
        version=row.get("version", 0),
        wanted=row.get("wanted", 0),
        attempts=row.get("attempts", 0),
        conditions={cast(Integration, name): Condition(**condition) for name, condition in kept.items()},
        memos=row.get("memos", {}),
        agreed={cast(Integration, name): Agreement(**one) for name, one in row.get("agreed", {}).items()},
        drift={cast(Integration, name): [Difference(*one) for one in found] for name, found in drift.items()},
        left=tuple(DriftState.model_validate(one) for one in row.get("left", ())),
    )


class ProvisionedUsers:
    """Whose user in the file service was made here, across tenants: the collection ``provisioned_users``.

    A person has one user there whatever their tenants, and nothing there tells whether it was made here.
    """

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["provisioned_users"]

    async def making(self, person: str) -> None:
        """Record the intent, before the user is made: a lost reply must not hide it."""
        await self._rows.update_one({"_id": person}, {"$setOnInsert": {"made": True}}, upsert=True)

    async def made(self, person: str, tx: Transaction | None = None) -> bool:
        return await self._rows.find_one({"_id": person}, {"_id": 1}, session=tx) is not None

    async def forget(self, person: str) -> None:
        await self._rows.delete_one({"_id": person})
