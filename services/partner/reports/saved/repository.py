"""Saved reports in MongoDB, and what they ask of the customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from services.partner.reports.models import ReportNameTaken
from services.partner.reports.saved.vocabulary import (
    MAX_ROWS,
    CustomersDefinition,
    SubscriptionsDefinition,
)
from services.partner.standings.repository import StandingRepository, at_level, level_at
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {
    "saved_reports": [Index([("partner", 1), ("name_key", 1)], {"unique": True})],
}


@dataclass(frozen=True, slots=True)
class SavedReport:
    """A report that a partner keeps. ``definition`` is in the form of the API."""

    id: str
    partner: str
    name: str
    definition: Document
    created_at: datetime
    version: int = 1


class SavedReportRepository:
    """The collection ``saved_reports``; every method names the partner."""

    def __init__(self, mongo: Mongo) -> None:
        self._reports = mongo.db["saved_reports"]

    async def insert(self, report: SavedReport, tx: Transaction) -> None:
        """Store a new report.

        Raises:
            ReportNameTaken: the partner has one of this name; capitals make no other name.
        """
        row = asdict(report)
        del row["id"]
        try:
            await self._reports.insert_one({"_id": report.id, **row, "name_key": report.name.casefold()}, session=tx)
        except DuplicateKey as error:
            raise ReportNameTaken("choose another name, or delete the report that has it") from error

    async def find(self, *, partner: str, report_id: str, tx: Transaction | None = None) -> SavedReport | None:
        """Return a report of ``partner``."""
        row = await self._reports.find_one({"_id": report_id, "partner": partner}, session=tx)
        return None if row is None else _from(row)

    async def page(self, *, partner: str, limit: int, cursor: str | None) -> Page[SavedReport]:
        """Return a partner's reports by name."""
        query = {"partner": partner}
        after = decode_cursor(cursor, query, (str,))
        only: Document = {**query} if after is None else {**query, "name_key": {"$gt": after[0]}}
        rows = await self._reports.find(only).sort("name_key", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["name_key"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def delete(self, *, partner: str, report_id: str, tx: Transaction) -> None:
        """Remove a report."""
        await self._reports.delete_one({"_id": report_id, "partner": partner}, session=tx)


# What a word reads. No part of a request ever becomes the name of a field or an operator.
_CUSTOMER_GROUPS: dict[str, Any] = {"plan": "$tenant.plan", "status": "$status", "signupMonth": "$cohort"}
_CUSTOMER_MEASURES: dict[str, Any] = {
    "customers": 1,
    "seats": "$tenant.seats",
    "seatsUsed": {"$ifNull": ["$usage.seats_used", 0]},
}
_SUBSCRIPTION_GROUPS = {
    "plan": "$subscription.plan",
    "cycle": "$subscription.cycle",
    "currency": "$subscription.currency",
    "status": "$subscription.status",
    "startMonth": "$subscription.started",
}
_SUBSCRIPTION_MEASURES: dict[str, Any] = {
    "subscriptions": 1,
    "seats": "$subscription.seats",
    "arr": "$subscription.arr",
    "mrr": "$subscription.arr",  # the sum of years, of which the caller takes the months
}


class Figures:
    """Sums over the customers, as definitions of saved reports ask for them."""

    def __init__(self, standings: StandingRepository) -> None:
        self._standings = standings

    async def customers(self, *, partner: str, wanted: CustomersDefinition, now: datetime) -> list[Document]:
        """Return rows {group or measure: value} by group; one more than ``MAX_ROWS`` says that there are more."""
        only = wanted.filters
        by_health = only.health is not None or "health" in wanted.group_by
        conditions: list[Document] = []
        if by_health or only.status is None:
            conditions.append({"present": True})
        if only.status is not None:
            conditions.append({"status": {"$in": list(only.status)}})
        if only.plan is not None:
            conditions.append({"tenant.plan": {"$in": list(only.plan)}})
        if only.health is not None:
            conditions.append({"$or": [at_level(level, now) for level in only.health]})
        if wanted.range is not None:
            conditions.append({"cohort": {"$gte": wanted.range.first, "$lte": wanted.range.last}})
        groups = {**_CUSTOMER_GROUPS, "health": level_at(now)}
        found = await self._standings.grouped(
            partner=partner,
            owner="partner",
            conditions=conditions,
            group={name: groups[name] for name in wanted.group_by},
            sums={name: {"$sum": _CUSTOMER_MEASURES[name]} for name in wanted.measures},
            most=MAX_ROWS + 1,
        )
        return [_flat(row) for row in found]

    async def subscriptions(self, *, partner: str, wanted: SubscriptionsDefinition) -> list[Document]:
        """Return rows {group or measure: value} by group; one more than ``MAX_ROWS`` says that there are more."""
        only = wanted.filters
        conditions: list[Document] = []
        if only.status is None:
            conditions.append({"subscription.live": True})
        for name, values in (
            ("status", only.status),
            ("plan", only.plan),
            ("cycle", only.cycle),
            ("currency", only.currency),
        ):
            if values is not None:
                conditions.append({f"subscription.{name}": {"$in": list(values)}})
        if wanted.range is not None:
            conditions.append({"subscription.started": {"$gte": wanted.range.first, "$lte": wanted.range.last}})
        found = await self._standings.grouped(
            partner=partner,
            owner="subscription.partner",
            conditions=conditions,
            group={name: _SUBSCRIPTION_GROUPS[name] for name in wanted.group_by},
            sums={name: {"$sum": _SUBSCRIPTION_MEASURES[name]} for name in wanted.measures},
            most=MAX_ROWS + 1,
        )
        return [_flat(row) for row in found]


def _flat(row: Document) -> Document:
    return {**(row.pop("_id") or {}), **row}


def _from(row: Document) -> SavedReport:
    return SavedReport(row["_id"], row["partner"], row["name"], row["definition"], row["created_at"], row["version"])
