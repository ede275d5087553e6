"""Partners and their terminations in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from services.partner.models import Partner, SlugTaken
from services.partner.scope import EVERYTHING, Scope
from shared.contracts.partner import ContactState, ContractState, TerminationState
from shared.errors import StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction, starts_with
from shared.paging import Page, decode_cursor, encode_cursor
from shared.search import words_of

INDEXES: Mapping[str, Sequence[Index]] = {
    "partners": [
        Index([("slug", 1)], {"unique": True}),
        Index([("status", 1), ("slug", 1)]),
        Index([("words", 1), ("slug", 1)]),
    ],
}


@dataclass(frozen=True, slots=True)
class PartnerFilter:
    """What a list may be narrowed to; None does not narrow. ``q`` is prefixes of words of name or slug."""

    status: str | None = None
    q: str | None = None

    def as_query(self) -> dict[str, str]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


NO_FILTER = PartnerFilter()


class PartnerRepository:
    """The collection ``partners``; every read names its scope."""

    def __init__(self, mongo: Mongo) -> None:
        self._partners = mongo.db["partners"]

    async def find(self, *, scope: Scope, slug: str, tx: Transaction | None = None) -> Partner | None:
        """Return the partner if it exists within ``scope``."""
        row = await self._partners.find_one({"$and": [{"slug": slug}, _within(scope)]}, session=tx)
        return None if row is None else _from(row)

    async def page(self, *, scope: Scope, only: PartnerFilter, limit: int, cursor: str | None = None) -> Page[Partner]:
        """Return partners within ``scope`` by slug."""
        query = only.as_query()
        after = decode_cursor(cursor, query, (str,))
        conditions = [_within(scope), *_conditions(only)]
        if after is not None:
            conditions.append({"slug": {"$gt": after[0]}})
        rows = await self._partners.find({"$and": conditions}).sort("slug", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["slug"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def page_across_partners(self, *, limit: int, cursor: str | None) -> Page[Partner]:
        """Return partners by slug, for services."""
        return await self.page(scope=EVERYTHING, only=NO_FILTER, limit=limit, cursor=cursor)

    async def insert(self, partner: Partner, tx: Transaction) -> None:
        """Store a new partner.

        Raises:
            SlugTaken: the unique index says so, whatever was read before.
        """
        try:
            await self._partners.insert_one({"_id": partner.id, **_document(partner)}, session=tx)
        except DuplicateKey as error:
            raise SlugTaken("choose another slug; slugs are never used twice") from error

    async def save(self, before: Partner, after: Partner, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the partner since ``before`` was read.
        """
        result = await self._partners.update_one(
            {"_id": before.id, "version": before.version}, {"$set": _document(after)}, session=tx
        )
        if result.matched_count == 0:
            raise StaleVersion("read the partner again and repeat the change")

    async def take_report_place(self, *, slug: str, most: int, tx: Transaction) -> bool:
        """Count one more saved report of a partner, unless it has ``most``; return whether it was counted.

        The number is on the partner's own row, so that of two requests for the last place one waits for the other.
        """
        free = {"slug": slug, "$or": [{"saved_reports": {"$lt": most}}, {"saved_reports": None}]}
        result = await self._partners.update_one(free, {"$inc": {"saved_reports": 1}}, session=tx)
        return result.matched_count == 1

    async def free_report_place(self, *, slug: str, tx: Transaction) -> None:
        """Count one saved report less."""
        await self._partners.update_one({"slug": slug}, {"$inc": {"saved_reports": -1}}, session=tx)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A termination that began with ``version`` of a partner; ``customers`` is None until it was answered."""

    partner: str
    version: int
    customers: int | None = None


class AttemptRepository:
    """The collection ``terminations``: how each attempt to terminate a partner came out."""

    def __init__(self, mongo: Mongo) -> None:
        self._attempts = mongo.db["terminations"]

    async def open(self, attempt: Attempt, tx: Transaction) -> None:
        """Record that a termination began."""
        await self._attempts.insert_one({"_id": _key(attempt.partner, attempt.version), "customers": None}, session=tx)

    async def close(self, attempt: Attempt, tx: Transaction) -> None:
        """Record the outcome."""
        key = _key(attempt.partner, attempt.version)
        await self._attempts.update_one({"_id": key}, {"$set": {"customers": attempt.customers}}, session=tx)

    async def find(self, *, partner: str, version: int) -> Attempt | None:
        """Return the attempt that began with ``version``."""
        row = await self._attempts.find_one({"_id": _key(partner, version)})
        return None if row is None else Attempt(partner, version, row["customers"])


def _key(partner: str, version: int) -> Document:
    return {"partner": partner, "version": version}


def _within(scope: Scope) -> Document:
    # No partner has the slug None, so a scope without one holds nothing.
    return {} if scope.everything else {"slug": scope.partner}


def _conditions(only: PartnerFilter) -> list[Document]:
    conditions: list[Document] = []
    if only.status is not None:
        conditions.append({"status": only.status})
    if only.q:
        conditions += [{"words": starts_with(word)} for word in words_of(only.q)] or [{"slug": None}]
    return conditions


_NESTED = frozenset({"contact", "contract", "termination"})


def _document(partner: Partner) -> Document:
    document: Document = {f.name: getattr(partner, f.name) for f in fields(partner) if f.name not in {"id", *_NESTED}}
    document["contact"] = partner.contact.model_dump()
    document["contract"] = partner.contract.model_dump()
    document["termination"] = None if partner.termination is None else partner.termination.model_dump()
    document["words"] = words_of(partner.name, partner.slug)
    return document


def _from(row: Document) -> Partner:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Partner) if f.name in row}
    known["id"] = row["_id"]
    known["contact"] = ContactState.model_validate(row["contact"])
    known["contract"] = ContractState.model_validate(row["contract"])
    if (termination := row.get("termination")) is not None:
        known["termination"] = TerminationState.model_validate(termination)
    return Partner(**known)
