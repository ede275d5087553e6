"""Forgetting again, in a restored deployment that does not serve yet, whoever was erased."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from infrastructure.backup.deployment import Deployment
from services.audit.erasing import Erasure
from services.audit.erasures import Replay as LogReplay
from services.audit.repository import AuditRepository
from services.health.repository import ErasureRepository as LookedFor
from services.tenant.people.erasure.replay import replay_of
from shared.clock import Clock
from shared.forgetting import Forgetting
from shared.mongo import Mongo, Transaction


async def forget_again(deployment: Deployment, kept: Iterable[Erasure], clock: Clock) -> int:
    """Erase whoever is in `kept` or in the restored list, in every service; return how many people.

    The tenant service makes tombstones of those who came back as somebody, with an event that tells everybody; every
    service blanks its outbox and its answers; the log destroys keys. The health service begins to look for all of them
    among the dead letters anew: those of the backup are older than what it remembers. Each step may be repeated.
    """
    async with _opened(deployment, "audit") as audit:
        everybody = {erasure.person: erasure async for erasure in AuditRepository(audit.db).erasures()}
    everybody |= {erasure.person: erasure for erasure in kept if erasure.person not in everybody}
    async with _opened(deployment, "tenant") as tenant:
        await replay_of(tenant, clock).run(everybody)
    for service in deployment.databases:
        async with _opened(deployment, service) as mongo:
            forgetting = Forgetting(mongo)
            for person in everybody:
                await forgetting.forget_in_events(person)
            await forgetting.forget_in_answers(everybody)
    if "health" in deployment.databases:
        async with _opened(deployment, "health") as health:
            await _look_among_dead_letters(health, everybody.values())
    async with _opened(deployment, "audit") as audit:
        return await LogReplay(audit.transactions, AuditRepository(audit.db)).run(everybody.values())


async def _look_among_dead_letters(health: Mongo, everybody: Iterable[Erasure]) -> None:
    people = LookedFor(health)
    looked = await people.all()
    await people.looked(looked, {each.person: 0 for each in looked})

    async def add(tx: Transaction) -> None:
        for erasure in everybody:
            await people.add(erasure.person, erasure.at, tx)

    await health.transactions.run(add)


@contextlib.asynccontextmanager
async def _opened(deployment: Deployment, service: str) -> AsyncIterator[Mongo]:
    mongo = Mongo(deployment.mongo_uri, deployment.databases[service], "dezky-restore")
    try:
        yield mongo
    finally:
        await mongo.close()
