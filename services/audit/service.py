"""What may be asked of the log, and by whom."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from services.audit.models import Query, Stored
from services.audit.personal import (
    BoxUnreadableError,
    Vault,
    address_tag,
    canonical_address,
    commitments,
    open_box,
    replace,
)
from services.audit.repository import AuditRepository
from shared.auth import Person
from shared.errors import InsufficientRole, NotFound
from shared.paging import DEFAULT_LIMIT, decode_cursor, encode_cursor

# Entries that are opened, or rendered, in one go: some three milliseconds of the event loop.
SLICE = 25
_STORED_ONLY = ("_id", "sealed", "actorEmailHmac", "actions")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list, and how far."""

    cursor: str | None = None
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list.

    Attributes:
        next: cursor of the page after, None on the last.
        searched_to: for a page that was ended by what it had looked at: every entry down to this number was looked at.
    """

    items: Sequence[dict[str, Any]]
    next: str | None = None
    searched_to: int | None = None


class Pages(Protocol):
    """Pages of the log, newest first: `AuditRepository.page`, over one tier or both."""

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]: ...


class AuditService:
    """Lists, scoped by the access table (FEATURES §0)."""

    def __init__(self, repository: AuditRepository, vault: Vault, pages: Pages | None = None) -> None:
        self._repository = repository
        self._pages = pages or repository
        self._vault = vault

    async def within_tenant(self, slug: str, reader: Person, query: Query) -> Query:
        """The part of a query that is a tenant's log. A partner sees no entries of the time of another partner.

        Raises NotFound outside the reader's scope, InsufficientRole for a member.
        """
        tenant = await self._repository.tenant_place(slug)
        scoped = dataclasses.replace(query, tenant=slug)
        role = reader.tenants.get(slug)
        if reader.is_operator and tenant is not None:
            pass
        elif reader.partner is not None and tenant is not None and tenant.partner == reader.partner.slug:
            scoped = dataclasses.replace(scoped, partner_or_none=reader.partner.slug)
        elif role == "member":
            raise InsufficientRole("the log of a tenant is for its admins")
        elif role is None:
            raise NotFound("there is no such tenant")
        return scoped

    def within_partner(self, slug: str, reader: Person, query: Query) -> Query:
        """The part of a query that is a partner's log: its own entries and its customers'.

        Raises NotFound outside the reader's scope.
        """
        if not reader.is_operator and (reader.partner is None or reader.partner.slug != slug):
            raise NotFound("there is no such partner")
        return dataclasses.replace(query, partner=slug)

    async def page(self, query: Query, actor_email: str | None, place: Place) -> Listed:
        """One page, newest first, of a query that has its scope."""
        bound = {**dataclasses.asdict(query), "actorEmail": actor_email}
        key = decode_cursor(place.cursor, bound, (int,))
        query = await self.of_actor(query, actor_email)
        items, following = await self.read(query, key[0] if key else None, place.limit)
        if following is None:
            return Listed(items)
        return Listed(items, encode_cursor([following], bound), following if len(items) < place.limit else None)

    async def of_actor(self, query: Query, actor_email: str | None) -> Query:
        """The part of a query that is by whoever has used an address."""
        return query if actor_email is None else dataclasses.replace(query, actor_tags=await self._tags(actor_email))

    async def read(self, query: Query, before: int | None, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Entries of a query that has its scope, as readers see them, and where the next ones begin."""
        entries, following = await self._pages.page(query, before, limit)
        keys = await self._keys(entries)
        shown: list[dict[str, Any]] = []
        for start in range(0, len(entries), SLICE):
            shown += [self._shown(entry, keys) for entry in entries[start : start + SLICE]]
            await asyncio.sleep(0)
        return shown, following

    async def _tags(self, email: str) -> tuple[str, ...]:
        """Under what an address is found: one tag for each person who has used it."""
        address = canonical_address(email)
        rows = await self._repository.keys_by_address(self._vault.address_digest(address))
        return tuple(address_tag(self._vault.unwrap(row["_id"], bytes(row["wrapped"])), address) for row in rows)

    async def _keys(self, entries: Sequence[Stored]) -> dict[str, bytes]:
        owners = {item["owner"] for entry in entries for item in entry["sealed"]}
        rows = await self._repository.keys_for(owners, ()) if owners else []
        return {row["_id"]: self._vault.unwrap(row["_id"], bytes(row["wrapped"])) for row in rows if row.get("wrapped")}

    def _shown(self, entry: Stored, keys: Mapping[str, bytes]) -> dict[str, Any]:
        """The entry as readers see it: values instead of commitments; null where the key has been destroyed."""
        shown = {name: value for name, value in entry.items() if name not in _STORED_ONLY}
        shown["metadata"] = orjson.loads(orjson.dumps(entry["metadata"]))
        values = self._opened(entry, keys)
        hidden = commitments(entry)
        for pointer in hidden:
            replace(shown, pointer, values.get(pointer))
        shown["erased"] = any(pointer not in values for pointer in hidden)
        return shown

    def _opened(self, entry: Stored, keys: Mapping[str, bytes]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for item in entry["sealed"]:
            key = keys.get(item["owner"])
            if key is None:
                continue
            try:
                opened = open_box(key, item["owner"], entry["id"], bytes(item["box"]))
            except BoxUnreadableError:  # altered: the list still answers, and verification names the entry
                continue
            values |= {pointer: value for pointer, (_, value) in opened.items()}
        return values
