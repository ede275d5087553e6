"""Keeps the usage of tenants: told in the transaction of whatever changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Protocol

import structlog

from services.tenant.people.models import Human
from services.tenant.usage.models import changed
from services.tenant.usage.repository import UsageRepository
from shared.actors import system
from shared.contracts.envelope import Actor
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

log = structlog.get_logger()

BATCH = 200
PAUSE_SECONDS = 0.05
"""Between two batches of the backfill, which nobody waits for."""


class Occupancy(Protocol):
    """Knows the people of a tenant."""

    async def seats_taken(self, tenant: str, tx: Transaction) -> int: ...
    async def last_seen_at(self, tenant: str, tx: Transaction) -> datetime | None: ...


class UsageBook:
    """Counts, rather than adds up: a count is right whatever happened before."""

    def __init__(self, rows: UsageRepository, seats: Occupancy, transactions: Transactions, outbox: Outbox) -> None:
        self._rows = rows
        self._seats = seats
        self._transactions = transactions
        self._outbox = outbox

    async def follow(self, actor: Actor, before: Human | None, after: Human | None, tx: Transaction) -> None:
        """Follow a change of a person that ``tx`` has written: wherever they took or left a seat."""
        had = before.seats if before else frozenset()
        has = after.seats if after else frozenset()
        came = _day(after.last_seen) if after and after.last_seen else None
        for slug in sorted(had ^ has):
            await self._count(actor, slug, came if slug in has else None, tx)

    async def signed_in(self, actor: Actor, slugs: Collection[str], on: date, tx: Transaction) -> None:
        """Record that somebody of these tenants was there on this day."""
        for slug in sorted(slugs):
            await self._count(actor, slug, on, tx)

    async def behind(self, slugs: Collection[str], on: date) -> bool:
        """Tell whether one of these tenants has not been seen used on this day."""
        return await self._rows.behind(slugs, on)

    async def _count(self, actor: Actor, slug: str, on: date | None, tx: Transaction) -> None:
        before = await self._rows.take(slug, tx)
        if before is None:
            return
        after = before.seen(await self._seats.seats_taken(slug, tx), on)
        await self._rows.put(after, tx)
        if after is not before:
            await self._outbox.add(tx, changed(actor, before, after))

    async def backfill(self) -> int:
        """Make the rows of tenants that had people before there were rows; return how many. Once is enough."""
        made, after = 0, ""
        if await self._rows.is_complete():
            return 0
        while True:
            slugs, end = await self._rows.without_row(after, BATCH)
            for slug in slugs:
                await self._introduce(slug)
            made += len(slugs)
            if end is None:
                break
            after = end
            await asyncio.sleep(PAUSE_SECONDS)
        await self._rows.complete()
        log.info("usage.backfilled", tenants=made)
        return made

    async def _introduce(self, slug: str) -> None:
        async def body(tx: Transaction) -> None:
            seen = await self._seats.last_seen_at(slug, tx)
            await self._count(system("usage"), slug, _day(seen) if seen else None, tx)

        await self._transactions.run(body)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
