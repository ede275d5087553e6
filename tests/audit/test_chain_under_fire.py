"""The chain's writer while its leader is killed and paused: no fork, no gap, each event once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from services.audit.chain import Appended, ChainWriter
from services.audit.consumers import MOST_EVENTS, ChainConsumer
from services.audit.models import Fact
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared.app import Platform
from shared.mongo import Database
from shared.topology import Topology
from tests.audit.memory import verify
from tests.audit.replicas import LEAN, WHOLE, Replicas, faults_of, produce
from tests.audit.test_consumer import hurry_redelivery, unacknowledged
from tests.support.waiting import eventually
from tests.torture.kept import keep

SEED = int(os.environ.get("TORTURE_SEED") or 0)


@dataclass
class Fire:
    """Producers and replicas at work while leaders die.

    Attributes:
        patient: wait for the lease and for what a dead leader left open, as in production; otherwise hurry both.
    """

    replicas: Replicas
    admin: Any
    topology: Topology
    db: Database
    random: Random
    patient: bool
    say: Callable[[str], None] = lambda _: None

    async def burn(self, *, at_once: int, producers: int, each: int, kills: int) -> dict[str, Any]:
        """Kill the leader again and again while events are produced; return when all are acknowledged."""
        began, count = time.monotonic(), producers * each
        for _ in range(at_once):
            await self.replicas.start()
        producing = asyncio.create_task(produce(self.admin, self.topology, producers, each))
        for number in range(kills):
            await eventually(
                lambda part=number * count // (kills + 1): self._beyond(part), seconds=120, pause=0.02, what="progress"
            )
            await asyncio.sleep(self.random.uniform(0.0, 0.2))
            await self.replicas.kill_leader(60)
            self.say(f"{number + 1}. kill at {await self._newest()}, {time.monotonic() - began:.0f} s")
            await self.replicas.start()
            if not self.patient:
                await self.replicas.expire_lease()
        await producing
        await eventually(self._settled, seconds=180, pause=0.05, what="everything acknowledged")
        return {"events": count, "kills": kills, "seconds": round(time.monotonic() - began, 1)}

    async def _newest(self) -> int:
        row = await self.db["heads"].find_one({})
        return 0 if row is None else int(row["seq"])

    async def _beyond(self, number: int) -> bool:
        return await self._newest() > number

    async def _settled(self) -> bool:
        return await unacknowledged(self.admin, self.topology) == (0, 0)


async def test_three_replicas_lose_three_leaders_and_chain_each_event_once(
    environment: dict[str, Any],
    admin: Any,
    nats_topology: Topology,
    repository: AuditRepository,
    vault: Vault,
    root_db: Database,
    tmp_path: Path,
) -> None:
    await hurry_redelivery(admin, nats_topology)
    async with Replicas(environment, root_db, tmp_path, LEAN) as replicas:
        fire = Fire(replicas, admin, nats_topology, root_db, Random(4), patient=False)
        await fire.burn(at_once=3, producers=10, each=200, kills=3)
    assert await faults_of(root_db, 2_000) == []
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.verified) == (None, 2_000)


async def test_a_replica_that_slept_through_its_lease_cannot_write(
    environment: dict[str, Any], admin: Any, nats_topology: Topology, root_db: Database, tmp_path: Path
) -> None:
    await hurry_redelivery(admin, nats_topology)
    async with Replicas(environment, root_db, tmp_path, LEAN) as replicas:
        sleeper = await replicas.start(SLEEPS="1")
        await produce(admin, nats_topology, 2, 30)
        await eventually(lambda: _true(sleeper.sleeps), what="the leader is paused with its batch in hand")
        await replicas.start()
        await replicas.expire_lease()
        await eventually(lambda: _chained(root_db, 60), seconds=30, what="its successor has chained everything")
        head = await root_db["heads"].find_one({})
        sleeper.send(signal.SIGCONT)
        await eventually(lambda: _true(sleeper.says("audit.lease_lost")), what="the sleeper has noticed")
        assert await root_db["heads"].find_one({}) == head
    assert await faults_of(root_db, 60) == []


async def _true(found: bool) -> bool:
    return found


async def _chained(db: Database, count: int) -> bool:
    return await db["entries"].count_documents({}) == count


class Counting(ChainWriter):
    """Notes how much its consumer holds each time that it writes."""

    held: Callable[[], Any]
    most = (0, 0)

    async def append(self, facts: Sequence[Fact]) -> Appended:
        _, outstanding = await self.held()
        self.most = (max(self.most[0], len(facts)), max(self.most[1], outstanding))
        return await super().append(facts)


async def test_a_consumer_before_a_backlog_holds_one_batch_and_asks_for_one_ahead(
    environment: dict[str, Any], admin: Any, nats_topology: Topology, root_db: Database, vault: Vault
) -> None:
    await produce(admin, nats_topology, 20, 110)
    settings = AuditSettings(**environment)
    platform = Platform.build("audit", settings)
    lease = platform.lease("audit-chain")
    writer = Counting(platform.mongo.transactions, AuditRepository(platform.mongo.db), vault, lease)
    writer.held = lambda: unacknowledged(admin, nats_topology)
    platform.bus.start()
    consuming = asyncio.create_task(ChainConsumer(platform.bus, platform.mongo, lease, writer, platform.clock).run())
    try:
        await eventually(lambda: _chained(root_db, 2_200), seconds=30, what="the backlog")
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        await platform.bus.close()
        await platform.mongo.close()
    in_hand, outstanding = writer.most
    assert 0 < in_hand <= MOST_EVENTS
    assert in_hand <= outstanding <= 2 * MOST_EVENTS


@pytest.mark.torture
async def test_five_replicas_lose_thirty_leaders_and_chain_a_hundred_thousand_events_once(
    environment: dict[str, Any],
    admin: Any,
    nats_topology: Topology,
    repository: AuditRepository,
    vault: Vault,
    root_db: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    seed = SEED or int(time.time())
    say(f"TORTURE_SEED={seed}")
    async with Replicas(environment, root_db, tmp_path, WHOLE) as replicas:
        fire = Fire(replicas, admin, nats_topology, root_db, Random(seed), patient=True, say=say)
        figures = await fire.burn(at_once=5, producers=50, each=2_000, kills=30)
    assert await faults_of(root_db, 100_000) == []
    verdict = await verify(repository, vault)
    assert (verdict.broken, verdict.verified) == (None, 100_000)
    setting = {"seed": seed, "replicas": 5, "producers": 50}
    say(keep("chain", {**setting, **figures, "entries": verdict.verified, "faults": []}))
