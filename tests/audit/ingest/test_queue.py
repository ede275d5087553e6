"""The queue: each record once, with its position; out of it and into the chain in one transaction."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.audit.chain import ChainWriter
from services.audit.ingest.intake import Intake
from services.audit.ingest.models import LARGEST, Arrival, QueueFull, Record
from services.audit.ingest.outflow import Outflow
from services.audit.ingest.repository import IngestRepository
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from shared.leases import Lease, LeaseLost
from shared.mongo import Database, Mongo, Transaction
from tests.audit.events import encode, refused
from tests.audit.memory import verify
from tests.support.servers import TestDatabase

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
KILLED = Path(__file__).parent / "killed_process.py"
Chained = Callable[[], Awaitable[list[dict[str, Any]]]]


def record(number: int, body: bytes = b'{"Action": "space_created"}') -> Record:
    return Record(f"ocis:{number}", "ocis", body, AT)


def arrival(*numbers: int, offset: int = 0) -> Arrival:
    return Arrival("ocis", [record(number) for number in numbers], {"offset": offset})


async def test_records_are_chained_once_and_in_order_however_often_they_arrive(
    intake: Intake, chained: Chained, queue: IngestRepository, vault: Vault, repository: AuditRepository
) -> None:
    assert await intake.take(arrival(1, 2, 2, 1, offset=2)) == 2
    assert await intake.take(arrival(2, 3, offset=3)) == 1
    assert [entry["id"] for entry in await chained()] == ["ocis:1", "ocis:2", "ocis:3"]
    assert await intake.take(arrival(1, 2, 3, 4, offset=4)) == 1
    assert [entry["id"] for entry in await chained()] == ["ocis:1", "ocis:2", "ocis:3", "ocis:4"]
    assert await queue.position("ocis") == {"offset": 4}
    assert (await verify(repository, vault)).broken is None


async def test_a_record_that_is_in_the_queue_and_in_the_chain_is_only_taken_out(
    intake: Intake, chained: Chained, root_db: Database
) -> None:
    await intake.take(arrival(1))
    row = await root_db["ingested"].find_one({})
    await chained()
    await root_db["ingested"].insert_one(row)
    assert len(await chained()) == 1


@pytest.mark.parametrize("where", ["arriving", "leaving"])
async def test_a_kill_in_the_middle_leaves_all_or_nothing(
    where: str,
    audit_database: TestDatabase,
    queue: IngestRepository,
    intake: Intake,
    root_db: Database,
    audit_mongo: Mongo,
    repository: AuditRepository,
    vault: Vault,
) -> None:
    if where == "leaving":
        await intake.take(arrival(0, 1, 2, offset=3))
    arguments = [str(KILLED), where, audit_database.uri, audit_database.name]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    # The server would end the transaction of the dead by itself, after a minute.
    await root_db.client.admin.command("killAllSessions", [{"user": "audit", "db": audit_database.name}])
    assert await root_db["entries"].count_documents({}) == 0
    assert await root_db["ingested"].count_documents({}) == (3 if where == "leaving" else 0)
    assert await queue.position("ocis") == ({"offset": 3} if where == "leaving" else None)
    await root_db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])
    lease = Lease(audit_mongo.db, "audit-chain", "heir")
    await lease.hold()
    await intake.take(arrival(0, 1, 2, offset=3))
    await Outflow(queue, ChainWriter(audit_mongo.transactions, repository, vault, lease)).drain()
    assert [entry["id"] async for entry in root_db["entries"].find().sort("_id", 1)] == ["ocis:0", "ocis:1", "ocis:2"]
    assert await root_db["ingested"].count_documents({}) == 0


class Interrupted(IngestRepository):
    """Fails after the last write of the transaction."""

    async def remove(self, ids: Sequence[str], tx: Transaction) -> None:
        await super().remove(ids, tx)
        raise RuntimeError


async def test_a_batch_that_does_not_commit_stays_in_the_queue(
    audit_mongo: Mongo, intake: Intake, queue: IngestRepository, writer: ChainWriter, root_db: Database
) -> None:
    await intake.take(arrival(1))
    with pytest.raises(RuntimeError):
        await Outflow(Interrupted(audit_mongo.db), writer).drain()
    assert (await queue.waiting(10), await root_db["entries"].count_documents({})) == (1, 0)


async def test_who_lost_the_lease_of_the_chain_takes_nothing_out(
    audit_mongo: Mongo, intake: Intake, queue: IngestRepository, repository: AuditRepository, vault: Vault
) -> None:
    await intake.take(arrival(1))
    stale = Lease(audit_mongo.db, "audit-chain", "sleeper")
    await stale.hold()
    await audit_mongo.db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])
    heir = Lease(audit_mongo.db, "audit-chain", "heir")
    assert await heir.acquire()
    with pytest.raises(LeaseLost):
        await Outflow(queue, ChainWriter(audit_mongo.transactions, repository, vault, stale)).drain()
    assert await queue.waiting(10) == 1


async def test_who_lost_the_lease_of_a_source_stores_neither_records_nor_position(
    audit_mongo: Mongo, intake: Intake, queue: IngestRepository
) -> None:
    stale = Lease(audit_mongo.db, "ingest-ocis", "sleeper")
    await stale.hold()
    await audit_mongo.db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])
    assert await Lease(audit_mongo.db, "ingest-ocis", "heir").acquire()
    with pytest.raises(LeaseLost):
        await intake.take(arrival(1, offset=1), stale)
    assert (await queue.waiting(10), await queue.position("ocis")) == (0, None)


async def test_a_full_queue_takes_nothing_and_moves_no_position(
    audit_mongo: Mongo, queue: IngestRepository, clock: Any, chained: Chained
) -> None:
    small = Intake(audit_mongo.transactions, queue, clock, most=2)
    await small.take(arrival(1, 2, offset=2))
    with pytest.raises(QueueFull):
        await small.take(arrival(3, offset=3))
    assert await queue.position("ocis") == {"offset": 2}
    await chained()
    assert await small.take(arrival(3, offset=3)) == 1


async def test_a_record_that_is_too_large_is_counted_and_passed(
    intake: Intake, queue: IngestRepository, chained: Chained
) -> None:
    large = record(1, b'{"Action": "' + b"x" * LARGEST + b'"}')
    assert await intake.take(Arrival("ocis", [large, record(2)], {"offset": 2}, {"not_json": 3})) == 1
    assert (await queue.sources())["ocis"]["skipped"] == {"not_json": 3, "too_large": 1}
    assert [entry["id"] for entry in await chained()] == ["ocis:2"]


async def test_a_record_that_cannot_be_stored_does_not_hold_up_its_neighbours(
    intake: Intake, chained: Chained, root_db: Database, vault: Vault
) -> None:
    # The data key of this actor was altered, so nothing can be sealed for them.
    digest = vault.address_digest("jane@acme.example")
    await root_db["person_keys"].insert_one({"_id": "address:x", "wrapped": b"x", "addresses": [digest]})
    poisoned = record(2, b'{"Action": "file_read", "User": "jane@acme.example"}')
    await intake.take(Arrival("ocis", [record(1), poisoned, record(3)]))
    entries = await chained()
    assert [(e["id"], e["action"], e["metadata"].get("reason")) for e in entries] == [
        ("ocis:1", "ocis.space_created", None),
        ("ocis:2", "audit.unparsed", "not_storable"),
        ("ocis:3", "ocis.space_created", None),
    ]


async def test_two_who_take_the_same_in_at_once_store_it_once(intake: Intake, chained: Chained) -> None:
    added = await asyncio.gather(*(intake.take(arrival(*range(20))) for _ in range(5)))
    assert sum(added) == 20
    assert len(await chained()) == 20


async def test_forgetting_an_address_forgets_all_that_a_source_said_with_it(
    intake: Intake, chained: Chained, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    body = b'{"Action": "file_read", "User": "Jane@Acme.example", "RemoteAddr": "203.0.113.7", "Path": "/cv-jane.pdf"}'
    await intake.take(Arrival("ocis", [record(1, body)]))
    (entry,) = await chained()
    assert [box["owner"].partition(":")[0] for box in entry["sealed"]] == ["address"]
    assert {row["_id"] for row in await repository.keys_by_address(vault.address_digest("jane@acme.example"))} == {
        entry["sealed"][0]["owner"]
    }
    held = str({name: value for name, value in entry.items() if name != "sealed"})
    assert not any(word in held for word in ("Jane", "203.0.113", "cv-jane"))
    assert (await verify(repository, vault)).broken is None


async def test_an_entry_about_somebody_is_sealed_for_them_and_verifies_as_one_of_the_actor(
    intake: Intake, chained: Chained, repository: AuditRepository, vault: Vault, root_db: Database
) -> None:
    bodies = [b'{"Action": "file_read", "User": "akadmin", "ShareWith": "jane@acme.example"}']
    bodies += [b'{"Action": "file_read", "User": "jane@acme.example"}', b'{"Action": "file_read", "User": "akadmin"}']
    await intake.take(Arrival("ocis", [record(number, body) for number, body in enumerate(bodies)]))
    owners = [entry["sealed"][0]["owner"] for entry in await chained()]
    (jane,) = await repository.keys_by_address(vault.address_digest("jane@acme.example"))
    assert owners[:2] == [jane["_id"]] * 2 != owners[1:]
    erased = {"$set": {"erasedAt": AT, "addresses": []}, "$unset": {"wrapped": ""}}
    await root_db["person_keys"].update_one({"_id": jane["_id"]}, erased)
    assert (await verify(repository, vault)).broken is None


async def test_what_an_unknown_caller_did_verifies_under_their_address_alone(
    chain: Any, root_db: Database, repository: AuditRepository, vault: Vault
) -> None:
    event = refused(1)
    event["data"]["note"] = "a member that no contract knows"
    await chain(encode(event))
    entry = await root_db["entries"].find_one({})
    assert entry is not None
    assert [box["owner"].partition(":")[0] for box in entry["sealed"]] == ["address"]
    assert (await verify(repository, vault)).broken is None
