"""Erasing again, in a restored database that nobody uses yet, the people who were erased after it was copied."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from services.tenant.people.erasure.erasures import Erasures
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.repository import RefusedIdentities, Traces
from services.tenant.people.records import Records
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.repository import TenantRepository
from services.tenant.usage.book import UsageBook
from services.tenant.usage.repository import UsageRepository
from shared.actors import system
from shared.clock import Clock
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox

ACTOR = system("restore")


class Replay:
    """Makes tombstones of whoever came back as somebody, and forgets what else this service keeps of all.

    The tombstone's event is told when the services start, so everybody hears of it. Being the last operator, owner or
    admin saves nobody: they were not when they were erased.
    """

    def __init__(self, records: Records, erasures: Erasures) -> None:
        self._records = records
        self._erasures = erasures

    async def run(self, people: Collection[str]) -> None:
        """Erase `people`, one transaction each; may be repeated, and finds only what is left."""
        for person in people:
            await self._again(person)
        await self._erasures.forget(list(people))

    async def _again(self, person: str) -> None:
        async def body(tx: Transaction) -> None:
            found = await self._records.people.find_anywhere(person, tx)
            if found is not None:
                await self._erasures.erase_within(ACTOR, found, None, tx)

        await self._records.transactions.run(body)


def replay_of(mongo: Mongo, clock: Clock) -> Replay:
    """Wire it to the service's database; the account is left to the task that the service finds when it starts."""
    people, outbox = PeopleRepository(mongo), Outbox(mongo, "tenant", clock)
    usage = UsageBook(UsageRepository(mongo), people, mongo.transactions, outbox)
    tasks = TaskRepository(mongo, clock)
    # Nobody is invited here, so it does not matter for how long.
    records = Records(people, tasks, mongo.transactions, outbox, clock, usage, timedelta(0))
    erasures = Erasures(
        records, Traces(mongo), RefusedIdentities(mongo), TenantRepository(mongo), None, ErasureBook(mongo)
    )
    return Replay(records, erasures)
