"""People in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from services.tenant.people.models import HOLDS_A_SEAT, Human, Identity, Place
from shared.contracts.user import PartnerRoleState, PersonStatus
from shared.errors import Conflict, StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction, starts_with
from shared.paging import Page, decode_cursor, encode_cursor
from shared.search import words_of

INDEXES: Mapping[str, Sequence[Index]] = {
    "people": [
        Index(
            [("identities.identity_provider", 1), ("identities.subject", 1)],
            {"unique": True, "partialFilterExpression": {"identities.subject": {"$exists": True}}},
        ),
        # Two invitations of one address at the same time would make two people.
        Index(
            [("inviting_email", 1)],
            {"unique": True, "partialFilterExpression": {"inviting_email": {"$exists": True}}},
        ),
        Index([("email_key", 1)]),
        Index([("partner.slug", 1), ("_id", 1)]),
        Index([("tenant_slugs", 1), ("_id", 1)]),
        # Counts a tenant's seats without reading the people.
        Index([("tenant_slugs", 1), ("status", 1)]),
        Index([("platform_admin", 1), ("_id", 1)]),
        Index([("status", 1), ("_id", 1)]),
        Index([("status", 1), ("invite_expires_at", 1)]),
        Index([("words", 1), ("_id", 1)]),
    ],
}

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class IdentityTaken(Conflict):
    code, title = "identity_taken", "This identity belongs to another person"


class InviteInProgress(Conflict):
    code, title = "invite_in_progress", "An invitation of this person is being carried out"


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """What a list of people may be narrowed to. ``q`` is a prefix of the address or of any word of name or address."""

    admins: bool = False
    inactive: bool = False
    invited: bool = False
    expired: bool = False
    q: str | None = None

    @property
    def statuses(self) -> list[PersonStatus]:
        """The statuses that are wanted, if any are named: several widen."""
        wanted: dict[PersonStatus, bool] = {
            "inactive": self.inactive,
            "invited": self.invited,
            "expired": self.expired,
        }
        return [status for status, named in wanted.items() if named]


class PeopleRepository:
    """The collection ``people``; a method that looks beyond one place says «anywhere»."""

    def __init__(self, mongo: Mongo) -> None:
        self._people = mongo.db["people"]
        self._guards = mongo.db["people_guards"]

    async def find_by_identity(self, identity: Identity, tx: Transaction | None = None) -> Human | None:
        """Return the person who is ``identity``, across all scopes: an identity has no scope."""
        # The planner serves a partial index only where its condition is plain in the query: $elemMatch hides it.
        known = {"identities.subject": identity.subject, "identities": {"$elemMatch": asdict(identity)}}
        row = await self._people.find_one(known, session=tx)
        return None if row is None else _from(row)

    async def find_anywhere(self, person: str, tx: Transaction | None = None) -> Human | None:
        """Return a person by id."""
        row = await self._people.find_one({"_id": person}, session=tx)
        return None if row is None else _from(row)

    async def erased_among(self, people: Collection[str]) -> set[str]:
        """Return those of these people who were erased, across all scopes."""
        rows = self._people.find({"_id": {"$in": list(people)}, "status": "erased"}, {"_id": 1})
        return {row["_id"] async for row in rows}

    async def find_by_email_anywhere(self, email: str, tx: Transaction) -> list[Human]:
        """Return at most two people of this address, letter case aside: two are ambiguous already."""
        rows = await self._people.find({"email_key": email.casefold()}, session=tx).limit(2).to_list()
        return [_from(row) for row in rows]

    async def page_anywhere(self, *, only: PeopleFilter, limit: int, cursor: str | None) -> Page[Human]:
        """Return people in the order in which they became known."""
        conditions: list[Document] = []
        if only.admins:
            conditions.append({"platform_admin": True})
        # Whoever was erased is nobody: an id answers for itself, and is listed nowhere.
        conditions.append({"status": {"$in": only.statuses} if only.statuses else {"$ne": "erased"}})
        if only.q:
            conditions += _search(only.q)
        return await self._page(conditions, asdict(only), limit, cursor)

    async def page_at(self, *, place: Place, limit: int, cursor: str | None) -> Page[Human]:
        """Return whoever has a role at ``place``, in the order in which they became known."""
        return await self._page([_at(place)], {"place": place.key}, limit, cursor)

    async def _page(
        self, conditions: Sequence[Document], query: Mapping[str, Any], limit: int, cursor: str | None
    ) -> Page[Human]:
        after = decode_cursor(cursor, query, (str,))
        wanted = [*conditions, {"_id": {"$gt": after[0]}}] if after is not None else list(conditions)
        found = self._people.find({"$and": wanted} if wanted else {}).sort("_id", 1).limit(limit + 1)
        rows = await found.to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def one_at_a_time(self, places: Sequence[Place], tx: Transaction) -> None:
        """Bind ``tx`` to ``places``: of two transactions that count who is left there, one repeats.

        Under snapshot isolation each would count the other's owner and both would commit.
        """
        for key in sorted(place.key for place in places):
            await self._guards.update_one({"_id": key}, {"$inc": {"changes": 1}}, upsert=True, session=tx)

    async def others_with(
        self, place: Place, role: str, statuses: Collection[PersonStatus], person: str, tx: Transaction
    ) -> int:
        """Count who else has ``role`` at ``place`` and one of ``statuses``."""
        holds: Document = _at(place)
        if place.kind != "platform":
            holds = {"partner.slug" if place.kind == "partner" else "tenant_slugs": place.slug}
            holds["partner.role" if place.kind == "partner" else f"tenants.{place.slug}"] = role
        query = {**holds, "status": {"$in": list(statuses)}, "_id": {"$ne": person}}
        return await self._people.count_documents(query, session=tx)

    async def seats_taken(self, tenant: str, tx: Transaction) -> int:
        """Count the people of a tenant who hold a seat."""
        holds: Document = {"tenant_slugs": tenant, "status": {"$in": list(HOLDS_A_SEAT)}}
        return await self._people.count_documents(holds, session=tx)

    async def last_seen_at(self, tenant: str, tx: Transaction) -> datetime | None:
        """Return when somebody of a tenant was last seen; reads all its people."""
        found = self._people.find({"tenant_slugs": tenant}, {"last_seen": 1}, session=tx)
        row = await found.sort("last_seen", -1).limit(1).to_list()
        return row[0]["last_seen"] if row else None

    async def is_empty(self, place: Place, tx: Transaction) -> bool:
        """Tell whether nobody has a role at ``place``."""
        return await self._people.find_one(_at(place), {"_id": 1}, session=tx) is None

    async def insert(self, human: Human, tx: Transaction) -> None:
        """Store a new person.

        Raises:
            IdentityTaken: somebody else is this identity.
            InviteInProgress: the address is being invited already.
        """
        try:
            await self._people.insert_one({"_id": human.id, **_document(human)}, session=tx)
        except DuplicateKey as error:
            raise _taken(error) from error

    async def save(self, before: Human, after: Human, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the person since ``before`` was read.
            IdentityTaken: a new identity is somebody else.
        """
        change: Document = {"$set": _document(after)}
        if after.status != "inviting":
            change["$unset"] = {"inviting_email": ""}
        try:
            result = await self._people.update_one({"_id": before.id, "version": before.version}, change, session=tx)
        except DuplicateKey as error:
            raise _taken(error) from error
        if result.matched_count == 0:
            raise StaleVersion("read the person again and repeat the change")

    async def remove(self, human: Human, tx: Transaction) -> None:
        """Remove the record of an invitation that came to nothing.

        Raises:
            StaleVersion: it is no longer the version given.
        """
        result = await self._people.delete_one({"_id": human.id, "version": human.version}, session=tx)
        if result.deleted_count == 0:
            raise StaleVersion("read the person again and repeat the change")

    async def touch(self, human: Human, at: datetime, tx: Transaction | None = None) -> None:
        """Record that a person was seen; no version, no event."""
        known = {"_id": human.id, "status": {"$ne": "erased"}}
        await self._people.update_one(known, {"$max": {"last_seen": at}}, session=tx)

    async def prolong(self, human: Human, until: datetime, tx: Transaction) -> None:
        """Give an invited person more time; no version, no event.

        Raises:
            StaleVersion: they came, or their invitation ended, since ``human`` was read.
        """
        invited = {"_id": human.id, "version": human.version, "status": "invited"}
        result = await self._people.update_one(invited, {"$set": {"invite_expires_at": until}}, session=tx)
        if result.matched_count == 0:
            raise StaleVersion("read the person again and repeat the change")

    async def overdue(self, limit: int) -> list[str]:
        """Return ids of invited people whose time is over by the database's clock, the longest overdue first."""
        due = {"$lte": ["$invite_expires_at", "$$NOW"]}
        # Null sorts before every date: without the second condition it would be overdue.
        query = {"status": "invited", "invite_expires_at": {"$gt": _LONG_AGO}, "$expr": due}
        found = self._people.find(query, {"_id": 1}).sort("invite_expires_at", 1).limit(limit)
        return [row["_id"] async for row in found]

    async def is_overdue(self, person: str, tx: Transaction) -> bool:
        """Tell whether somebody is invited and their time is over by the database's clock."""
        due = {"$lte": ["$invite_expires_at", "$$NOW"]}
        query = {"_id": person, "status": "invited", "invite_expires_at": {"$gt": _LONG_AGO}, "$expr": due}
        return await self._people.find_one(query, {"_id": 1}, session=tx) is not None

    async def give_time(self, span: timedelta) -> int:
        """Give whoever was invited before invitations had an end this much time from now; return how many."""
        until = {"$add": ["$$NOW", int(span.total_seconds() * 1000)]}
        endless = {"status": "invited", "invite_expires_at": None}
        result = await self._people.update_many(endless, [{"$set": {"invite_expires_at": until}}])
        return result.modified_count


def _taken(error: DuplicateKey) -> Conflict:
    if "inviting_email" in (error.details or {}).get("keyPattern", {}):
        return InviteInProgress("somebody invites this address at this moment: list the people, then try again")
    return IdentityTaken("the identity provider's account belongs to somebody else")


def _at(place: Place) -> Document:
    if place.kind == "platform":
        return {"platform_admin": True}
    return {"partner.slug" if place.kind == "partner" else "tenant_slugs": place.slug}


def _search(q: str) -> list[Document]:
    if "\x00" in q:  # no name holds one, and MongoDB takes none in a pattern
        return [{"_id": None}]
    if "@" in q:
        return [{"email_key": starts_with(q.strip().casefold())}]
    return [{"words": starts_with(word)} for word in words_of(q)] or [{"_id": None}]


def _document(human: Human) -> Document:
    document: Document = {f.name: getattr(human, f.name) for f in fields(human) if f.name != "id"}
    document["identities"] = [asdict(identity) for identity in human.identities]
    document["partner"] = None if human.partner is None else human.partner.model_dump()
    # Slugs may hold no dot, so the map is safe as field names; the list beside it is what an index can serve.
    document["tenant_slugs"] = sorted(human.tenants)
    document["email_key"] = human.email.casefold()
    document["words"] = words_of(human.name, human.email)
    if human.status == "inviting":
        document["inviting_email"] = document["email_key"]
    return document


def _from(row: Document) -> Human:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Human) if f.name in row}
    known["id"] = row["_id"]
    known["identities"] = tuple(Identity(**identity) for identity in row["identities"])
    known["partner"] = None if row["partner"] is None else PartnerRoleState.model_validate(row["partner"])
    return Human(**known)
