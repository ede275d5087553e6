"""Ends the invitations of people who did not come in time."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import structlog

from services.tenant.people.events import about
from services.tenant.people.records import Records
from shared.actors import system
from shared.contracts.user import UserInviteExpired
from shared.errors import StaleVersion
from shared.leases import Lease, LeaseLost
from shared.mongo import Transaction

log = structlog.get_logger()

POLL_SECONDS = 2.0
BATCH = 100


class Expiry:
    """One replica at a time, by lease. The time that counts is the database's, so no time is lost while nobody runs."""

    def __init__(self, records: Records, lease: Lease) -> None:
        self._records = records
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            one of DATABASE_UNAVAILABLE: to be run again when the database is there.
        """
        try:
            while True:
                with contextlib.suppress(LeaseLost):
                    await self._tenure()
        finally:
            await self._lease.release()

    async def _tenure(self) -> None:
        await self._lease.hold()
        await self._records.people.give_time(self._records.invite_lasts)
        await self._records.usage.backfill()
        while await self._lease.acquire():
            if await self.end_overdue() < BATCH:
                await asyncio.sleep(POLL_SECONDS)

    async def end_overdue(self, limit: int = BATCH) -> int:
        """End up to ``limit`` invitations, each in a transaction of its own; return how many were looked at.

        Of an end and a first sign-in at the same moment one commits: both write the person.
        """
        overdue = await self._records.people.overdue(limit)
        for person in overdue:
            try:
                await self._records.transactions.run(partial(self._end, person))
            except StaleVersion:
                log.info("expiry.overtaken", person=person)
        return len(overdue)

    async def _end(self, person: str, tx: Transaction) -> None:
        await self._lease.assert_held(tx)
        if not await self._records.people.is_overdue(person, tx):
            return  # came, or was invited again, meanwhile
        before = await self._records.people.find_anywhere(person, tx)
        if before is None:
            return
        after, actor = before.expired(), system("invitations")
        await self._records.people.one_at_a_time(before.places, tx)
        await self._records.write(actor, before, after, tx)
        place = after.places[0] if len(after.places) == 1 else None
        await self._records.outbox.add(tx, UserInviteExpired(**about(actor, before, after, place)))
        await self._records.tell_provider(after, "activity", tx)
