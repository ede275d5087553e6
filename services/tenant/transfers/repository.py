"""Transfers in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

from services.tenant.transfers.models import Transfer, TransferAlreadyOpen
from shared.contracts.tenant import TransferStatus
from shared.errors import StaleVersion
from shared.mongo import Document, DuplicateKey, Index, Mongo, Transaction
from shared.paging import Page, decode_cursor, encode_cursor

INDEXES: Mapping[str, Sequence[Index]] = {
    "transfers": [
        Index(
            [("to_partner", 1), ("tenant", 1)],
            {"unique": True, "partialFilterExpression": {"status": "open"}, "name": "one_open"},
        ),
        Index([("to_partner", 1), ("_id", 1)]),
        Index([("tenant", 1), ("_id", 1)]),
        Index([("expires_at", 1)], {"partialFilterExpression": {"status": "open"}}),
    ],
}


@dataclass(frozen=True, slots=True)
class Side:
    """Whose requests: those of a partner, or those for a tenant."""

    member: Literal["to_partner", "tenant"]
    slug: str

    @property
    def query(self) -> Document:
        return {self.member: self.slug}


class TransferRepository:
    """The collection ``transfers``; every read names its side, but that of the worker."""

    def __init__(self, mongo: Mongo) -> None:
        self._transfers = mongo.db["transfers"]

    async def find(self, *, side: Side, transfer: str, tx: Transaction) -> Transfer | None:
        """Return the request if it is on ``side``."""
        row = await self._transfers.find_one({"_id": transfer, **side.query}, session=tx)
        return None if row is None else _from(row)

    async def page(
        self, *, side: Side, status: TransferStatus | None, limit: int, cursor: str | None
    ) -> Page[Transfer]:
        """Return requests on ``side`` in the order in which they were opened, by what was last written of them."""
        query: dict[str, str] = {side.member: side.slug} if status is None else {**side.query, "status": status}
        after = decode_cursor(cursor, query, (str,))
        wanted: Document = query if after is None else {**query, "_id": {"$gt": after[0]}}
        rows = await self._transfers.find(wanted).sort("_id", 1).limit(limit + 1).to_list()
        more = encode_cursor([rows[limit - 1]["_id"]], query) if len(rows) > limit else None
        return Page([_from(row) for row in rows[:limit]], more)

    async def open_on(self, *, side: Side, tx: Transaction) -> list[Transfer]:
        """Return the open requests on ``side``, those among them whose time is over; a partner has few."""
        rows = self._transfers.find({**side.query, "status": "open"}, session=tx).sort("_id", 1)
        return [_from(row) async for row in rows]

    async def overdue_of_all(self, now: datetime, limit: int) -> list[Transfer]:
        """Return open requests of all partners whose time is over, the longest first."""
        query = {"status": "open", "expires_at": {"$lte": now}}
        rows = self._transfers.find(query).sort("expires_at", 1).limit(limit)
        return [_from(row) async for row in rows]

    async def insert(self, transfer: Transfer, tx: Transaction) -> None:
        """Store a new request.

        Raises:
            TransferAlreadyOpen: the partner has an open one for this tenant.
        """
        try:
            await self._transfers.insert_one({"_id": transfer.id, **_document(transfer)}, session=tx)
        except DuplicateKey as error:
            raise TransferAlreadyOpen("wait for the answer, or withdraw it first") from error

    async def save(self, before: Transfer, after: Transfer, tx: Transaction) -> None:
        """Replace ``before`` by ``after``.

        Raises:
            StaleVersion: somebody changed it since ``before`` was read.
        """
        known = {"_id": before.id, "version": before.version}
        result = await self._transfers.update_one(known, {"$set": _document(after)}, session=tx)
        if result.matched_count == 0:
            raise StaleVersion("read the request again and repeat the change")


_PLAIN = tuple(f.name for f in fields(Transfer) if f.name != "id")


def _document(transfer: Transfer) -> Document:
    return {name: getattr(transfer, name) for name in _PLAIN}


def _from(row: Document) -> Transfer:
    return Transfer(id=row["_id"], **{name: row[name] for name in _PLAIN if name in row})
