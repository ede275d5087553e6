"""The consumer against real servers: batches, crashes at the worst moment, outages."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from infrastructure.local.servers.mongod import MongodServer
from services.audit.consumers import MOST_BYTES, ChainConsumer, batches
from services.audit.main import wire
from services.audit.models import Query
from services.audit.parts import stores_of
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.settings import AuditSettings
from shared.app import Platform
from shared.bus import Delivery
from shared.mongo import Database
from shared.topology import Topology
from tests.audit.events import PERSONAL_KEY, encode, tenant_event
from tests.audit.memory import verify
from tests.support.servers import TestDatabase, free_port
from tests.support.waiting import eventually

CRASHING = Path(__file__).parent / "crashing_process.py"


async def publish(admin: Any, topology: Topology, numbers: range) -> None:
    stream = admin.jetstream()
    for payload in encode(*(tenant_event(number) for number in numbers)):
        await stream.publish(topology.subject("tenant.updated.v1"), payload)


async def unacknowledged(admin: Any, topology: Topology) -> tuple[int, int]:
    """Events not yet delivered, and delivered but not acknowledged."""
    info = await admin.jetstream().consumer_info(topology.stream_events, topology.durable("audit-chain"))
    return info.num_pending, info.num_ack_pending


class Running:
    """The consumer of a composed service, in this process."""

    def __init__(self, settings: AuditSettings) -> None:
        self._platform = Platform.build("audit", settings)
        self.consumer: ChainConsumer = wire(self._platform, settings, stores_of(settings)).consumer

    async def __aenter__(self) -> Running:
        self._platform.bus.start()
        self._task = asyncio.create_task(self.consumer.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._platform.bus.close()
        await self._platform.mongo.close()


async def test_a_backlog_is_chained_in_order_and_acknowledged(
    environment: dict[str, Any], admin: Any, nats_topology: Topology, repository: AuditRepository, root_db: Database
) -> None:
    await publish(admin, nats_topology, range(1, 1201))
    async with Running(AuditSettings(**environment)):
        await eventually(lambda: _acknowledged(admin, nats_topology), what="everything acknowledged")
    entries = await root_db["entries"].find({}, {"metadata.sourceSeq": 1}).sort("_id", 1).to_list()
    assert [entry["metadata"]["sourceSeq"] for entry in entries] == list(range(1, 1201))
    assert [entry["_id"] for entry in entries] == list(range(1, 1201))


async def _acknowledged(admin: Any, topology: Topology) -> bool:
    return await unacknowledged(admin, topology) == (0, 0)


async def hurry_redelivery(admin: Any, topology: Topology) -> None:
    """Let what was not acknowledged come again after two seconds instead of thirty."""
    durable = topology.durable("audit-chain")
    (body,) = (body for body in topology.consumer_configs() if body["config"]["durable_name"] == durable)
    body["config"]["ack_wait"] = 2_000_000_000
    subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{topology.stream_events}.{durable}"
    assert "error" not in orjson.loads((await admin.request(subject, orjson.dumps(body))).data)


async def test_a_process_killed_between_commit_and_acknowledgement_leaves_exactly_one_entry_each(
    environment: dict[str, Any],
    admin: Any,
    nats_topology: Topology,
    audit_database: TestDatabase,
    repository: AuditRepository,
    vault: Vault,
    root_db: Database,
) -> None:
    await hurry_redelivery(admin, nats_topology)
    await publish(admin, nats_topology, range(1, 21))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CRASHING), env=_process_environment(environment), cwd=Path(__file__).parents[2]
    )
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    committed = await root_db["entries"].count_documents({})
    assert committed > 0
    pending, delivered = await unacknowledged(admin, nats_topology)
    assert (pending + delivered, delivered >= committed) == (20, True)
    # The dead process still holds the lease and its deliveries. Both come back by time; of the lease it is made short.
    await root_db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])
    async with Running(AuditSettings(**environment)):
        await eventually(lambda: _acknowledged(admin, nats_topology), seconds=60, what="everything acknowledged")
    ids = [entry["id"] async for entry in root_db["entries"].find().sort("_id", 1)]
    assert sorted(ids) == [tenant_event(number)["id"] for number in range(1, 21)]
    assert (await verify(repository, vault)).broken is None


def _process_environment(environment: dict[str, Any]) -> dict[str, str]:
    shared = {"internal_public_keys": "INTERNAL_PUBLIC_KEYS", "nats_prefix": "NATS_PREFIX"}
    made = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    for name, value in environment.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        made[shared.get(name, f"AUDIT_{name.upper()}")] = text
    return made


async def test_mongodb_away_stops_the_pulling_and_loses_nothing(
    tmp_path: Path,
    environment: dict[str, Any],
    admin: Any,
    nats_topology: Topology,
) -> None:
    server = MongodServer(tmp_path / "mongod", free_port())
    await asyncio.to_thread(server.start)
    settings = AuditSettings(**{**environment, "mongo_uri": server.uri, "mongo_database": "audit"})
    platform = Platform.build("audit", settings)
    repository = AuditRepository(platform.mongo.db)
    try:
        async with Running(settings):
            await publish(admin, nats_topology, range(1, 11))
            await eventually(lambda: _acknowledged(admin, nats_topology), what="the first ten")
            await asyncio.to_thread(server.kill)
            await publish(admin, nats_topology, range(11, 1511))
            # What was asked for before is at most one pull; the rest stays with JetStream.
            pending, delivered = await unacknowledged(admin, nats_topology)
            assert pending + delivered == 1500
            assert delivered <= 500
            await asyncio.to_thread(server.start)
            await eventually(lambda: _acknowledged(admin, nats_topology), seconds=60, what="the backlog")
        assert (await verify(repository, Vault(PERSONAL_KEY))).verified == 1510
        page, _ = await repository.page(Query(), None, 1)
        assert page[0]["seq"] == 1510
    finally:
        await platform.mongo.close()
        await asyncio.to_thread(server.kill)


async def test_an_event_that_cannot_be_stored_does_not_hold_up_its_neighbours(
    environment: dict[str, Any], admin: Any, nats_topology: Topology, root_db: Database
) -> None:
    # The data key of this actor was altered, so nothing can be sealed for them.
    await root_db["person_keys"].insert_one({"_id": "person:0198c0de-0000-7000-8000-000000000009", "wrapped": b"x"})
    poisoned = tenant_event(2)
    poisoned["data"]["actor"]["id"] = "0198c0de-0000-7000-8000-000000000009"
    stream = admin.jetstream()
    for payload in encode(tenant_event(1), poisoned, tenant_event(3)):
        await stream.publish(nats_topology.subject("tenant.updated.v1"), payload)
    async with Running(AuditSettings(**environment)):
        await eventually(lambda: _acknowledged(admin, nats_topology), what="all three")
    entries = await root_db["entries"].find().sort("_id", 1).to_list()
    assert [(e["action"], e["metadata"].get("reason")) for e in entries] == [
        ("tenant.updated", None),
        ("audit.unparsed", "not_storable"),
        ("tenant.updated", None),
    ]


def test_a_batch_carries_a_bounded_number_of_bytes() -> None:
    big = Delivery("s", b"x" * (MOST_BYTES // 3), {}, None, "")  # type: ignore[arg-type]
    huge = Delivery("s", b"x" * (MOST_BYTES + 1), {}, None, "")  # type: ignore[arg-type]
    assert [len(batch) for batch in batches([big, big, big, big, huge, big])] == [3, 1, 1, 1]
    assert list(batches([])) == []


class Stuck:
    """A queue that cannot be drained."""

    def __init__(self) -> None:
        self.asked = 0

    async def drain(self) -> bool:
        self.asked += 1
        raise ValueError("whatever")


async def test_a_queue_that_cannot_be_drained_holds_up_no_event(
    environment: dict[str, Any], admin: Any, nats_topology: Topology, root_db: Database
) -> None:
    await publish(admin, nats_topology, range(1, 4))
    running = Running(AuditSettings(**environment))
    running.consumer._waiting = stuck = Stuck()
    async with running:
        await eventually(lambda: _acknowledged(admin, nats_topology), what="all three")
    assert stuck.asked > 0
    assert await root_db["entries"].count_documents({}) == 3


async def test_what_waits_is_chained_although_the_bus_is_away(environment: dict[str, Any], root_db: Database) -> None:
    nowhere = f"nats://audit:x@127.0.0.1:{free_port()}"
    row = {"_id": "ocis:1", "batch": "b", "place": 0, "source": "ocis", "body": b'{"Action": "x"}'}
    await root_db["ingested"].insert_one({**row, "received": datetime(2026, 11, 22, 12, tzinfo=UTC)})
    async with Running(AuditSettings(**{**environment, "nats_url": nowhere})):
        await eventually(lambda: root_db["entries"].count_documents({"id": "ocis:1"}), what="the record in the chain")
