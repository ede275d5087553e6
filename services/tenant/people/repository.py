"""People in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from services.tenant.people.models import Human, Identity
from shared.contracts.user import PartnerRoleState
from shared.errors import Conflict, StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction

INDEXES: Mapping[str, Sequence[Index]] = {
    "people": [
        Index(
            [("identities.identity_provider", 1), ("identities.subject", 1)],
            {"unique": True, "partialFilterExpression": {"identities.subject": {"$exists": True}}},
        ),
        Index([("email_key", 1)]),
        Index([("partner.slug", 1), ("_id", 1)]),
        Index([("tenant_slugs", 1), ("_id", 1)]),
    ],
}


class IdentityTaken(Conflict):
    code, title = "identity_taken", "This identity belongs to another person"


class PeopleRepository:
    """The collection ``people``."""

    def __init__(self, mongo: Mongo) -> None:
        self._people = mongo.db["people"]

    async def find_by_identity(self, identity: Identity, tx: Transaction | None = None) -> Human | None:
        """Return the person who is ``identity``, across all scopes: only the directory asks."""
        row = await self._people.find_one({"identities": {"$elemMatch": asdict(identity)}}, session=tx)
        return None if row is None else _from(row)

    async def insert(self, human: Human, tx: Transaction) -> None:
        """Store a new person.

        Raises:
            IdentityTaken: somebody else is this identity.
        """
        try:
            await self._people.insert_one({"_id": human.id, **_document(human)}, session=tx)
        except DuplicateKey as error:
            raise IdentityTaken from error

    async def save(self, before: Human, after: Human, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed the person since ``before`` was read.
        """
        result = await self._people.update_one(
            {"_id": before.id, "version": before.version}, {"$set": _document(after)}, session=tx
        )
        if result.matched_count == 0:
            raise StaleVersion("read the person again and repeat the change")

    async def touch(self, human: Human, at: datetime) -> None:
        """Record that a person was seen; no version, no event."""
        await self._people.update_one({"_id": human.id}, {"$max": {"last_seen": at}})


def _document(human: Human) -> Document:
    document: Document = {f.name: getattr(human, f.name) for f in fields(human) if f.name != "id"}
    document["identities"] = [asdict(identity) for identity in human.identities]
    document["partner"] = None if human.partner is None else human.partner.model_dump()
    # Slugs may hold no dot, so the map is safe as field names; the list beside it is what an index can serve.
    document["tenant_slugs"] = sorted(human.tenants)
    document["email_key"] = human.email.casefold()
    return document


def _from(row: Document) -> Human:
    known: dict[str, Any] = {f.name: row[f.name] for f in fields(Human) if f.name in row}
    known["id"] = row["_id"]
    known["identities"] = tuple(Identity(**identity) for identity in row["identities"])
    known["partner"] = None if row["partner"] is None else PartnerRoleState.model_validate(row["partner"])
    return Human(**known)
