"""What may be asked of the log, and by whom."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from services.audit.models import Query, Stored, Verdict
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
from services.audit.sources import gaps_of
from services.audit.verifier import Log, verify
from shared.auth import Person
from shared.errors import InsufficientRole, NotFound
from shared.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor

_STORED_ONLY = ("_id", "sealed", "actorEmailHmac", "actions")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list, and how far."""

    cursor: str | None = None
    limit: int = DEFAULT_LIMIT


class Pages(Protocol):
    """Pages of the log, newest first: `AuditRepository.page`, over one tier or both."""

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]: ...


class Tiers(Log, Protocol):
    """What is verified where there is cold storage."""

    async def archived_up_to(self) -> int | None: ...


class AuditService:
    """Lists, scoped by the access table (FEATURES §0), and verification."""

    def __init__(
        self, repository: AuditRepository, vault: Vault, pages: Pages | None = None, log: Tiers | None = None
    ) -> None:
        self._repository = repository
        self._pages = pages or repository
        self._log = log
        self._vault = vault
        # Two verifications at once would only slow each other down.
        self._verifying = asyncio.Lock()

    async def list_across_tenants(self, query: Query, actor_email: str | None, place: Place) -> Page[dict[str, Any]]:
        """One page of the whole log, newest first; for operators."""
        return await self._list(query, place, actor_email)

    async def list_of_tenant(self, slug: str, reader: Person, query: Query, place: Place) -> Page[dict[str, Any]]:
        """One page of a tenant's log. A partner sees no entries of the time when another partner owned the tenant.

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
        return await self._list(scoped, place)

    async def list_of_partner(self, slug: str, reader: Person, query: Query, place: Place) -> Page[dict[str, Any]]:
        """One page of a partner's log: its own entries and its customers'. Raises NotFound outside the scope."""
        if not reader.is_operator and (reader.partner is None or reader.partner.slug != slug):
            raise NotFound("there is no such partner")
        scoped = dataclasses.replace(query, partner=slug)
        return await self._list(scoped, place)

    async def verify(self) -> tuple[Verdict, list[str]]:
        """The verdict on the whole log, and the findings that break no hash."""
        async with self._verifying:
            verdict = await verify(self._log or self._repository, self._vault)
        gaps = gaps_of(await self._repository.sources())
        missing = [f"events {gap.first} to {gap.last} of {gap.source} have not arrived" for gap in gaps]
        return verdict, [*verdict.findings, *missing]

    async def archived_up_to(self) -> int | None:
        """The highest number in cold storage."""
        return None if self._log is None else await self._log.archived_up_to()

    async def _list(self, query: Query, place: Place, actor_email: str | None = None) -> Page[dict[str, Any]]:
        bound = {**dataclasses.asdict(query), "actorEmail": actor_email}
        key = decode_cursor(place.cursor, bound, (int,))
        if actor_email is not None:
            query = dataclasses.replace(query, actor_tags=await self._tags(actor_email))
        entries, following = await self._pages.page(query, key[0] if key else None, place.limit)
        keys = await self._keys(entries)
        items = [self._shown(entry, keys) for entry in entries]
        return Page(items, None if following is None else encode_cursor([following], bound))

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
