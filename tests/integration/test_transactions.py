"""Transactions repeat what the driver's specification says they repeat, and leave nothing when they abort."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infrastructure.local.servers.mongod import MongodServer
from shared.mongo import Mongo, Transaction, is_unavailable
from shared.outbox import Outbox
from tests.integration.parts import CLOCK, collect_half_open_sockets, happened
from tests.integration.wire import Loss, LossyWire
from tests.support.servers import TestDatabase


async def add_one(mongo: Mongo, tx: Transaction) -> None:
    row = await mongo.db["counters"].find_one({"_id": "c"}, session=tx)
    assert row is not None
    await mongo.db["counters"].update_one({"_id": "c"}, {"$set": {"n": row["n"] + 1}}, session=tx)


async def test_a_write_conflict_repeats_the_body(mongo: Mongo) -> None:
    await mongo.db["counters"].insert_one({"_id": "c", "n": 0})
    attempts = 0

    async def slow(tx: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        row = await mongo.db["counters"].find_one({"_id": "c"}, session=tx)
        assert row is not None
        if attempts == 1:
            await mongo.transactions.run(lambda other: add_one(mongo, other))
        await mongo.db["counters"].update_one({"_id": "c"}, {"$set": {"n": row["n"] + 1}}, session=tx)
        return attempts

    assert await mongo.transactions.run(slow) == 2
    assert await mongo.db["counters"].find_one({}) == {"_id": "c", "n": 2}


async def test_many_at_once_lose_no_step(mongo: Mongo) -> None:
    await mongo.db["counters"].insert_one({"_id": "c", "n": 0})
    await asyncio.gather(*(mongo.transactions.run(lambda tx: add_one(mongo, tx)) for _ in range(12)))
    assert await mongo.db["counters"].find_one({}) == {"_id": "c", "n": 12}


async def test_an_aborted_transaction_leaves_neither_state_nor_event(mongo: Mongo) -> None:
    outbox = Outbox(mongo, "tenant", CLOCK)

    async def fail(tx: Transaction) -> None:
        await mongo.db["tenants"].insert_one({"_id": "acme"}, session=tx)
        await outbox.add(tx, happened(1))
        raise LookupError("changed my mind")

    with pytest.raises(LookupError):
        await mongo.transactions.run(fail)
    assert await mongo.db["tenants"].count_documents({}) == 0
    assert await mongo.db["outbox"].count_documents({}) == 0


@pytest.fixture
async def wire(mongod: MongodServer) -> AsyncIterator[LossyWire]:
    async with LossyWire(mongod.port) as made:
        yield made


@pytest.fixture
async def over_wire(wire: LossyWire, mongod: MongodServer, database: TestDatabase) -> AsyncIterator[Mongo]:
    direct = database.uri.replace(f":{mongod.port}/", f":{wire.port}/").replace(
        "replicaSet=rs0", "directConnection=true"
    )
    assert str(wire.port) in direct
    opened = Mongo(direct, database.name, "tests")
    yield opened
    await opened.close()


@pytest.mark.parametrize("loss", ["request", "reply"])
async def test_a_commit_whose_fate_is_unknown_is_asked_for_again_and_happens_once(
    over_wire: Mongo, wire: LossyWire, mongo: Mongo, loss: Loss
) -> None:
    await mongo.db["counters"].insert_one({"_id": "c", "n": 0})
    bodies = 0

    async def body(tx: Transaction) -> str:
        nonlocal bodies
        bodies += 1
        await over_wire.db["counters"].update_one({"_id": "c"}, {"$inc": {"n": 1}}, session=tx)
        wire.lose(loss, b"commitTransaction")
        return "done"

    assert await over_wire.transactions.run(body) == "done"
    assert (wire.lost, bodies) == (1, 1)
    assert await mongo.db["counters"].find_one({}) == {"_id": "c", "n": 1}


async def test_a_connection_lost_before_the_commit_repeats_the_body_and_counts_once(
    over_wire: Mongo, wire: LossyWire, mongo: Mongo
) -> None:
    await mongo.db["counters"].insert_one({"_id": "c", "n": 0})
    bodies = 0

    async def body(tx: Transaction) -> int:
        nonlocal bodies
        bodies += 1
        if bodies == 1:
            wire.lose("reply", b"updated-by-tests")
        await over_wire.db["counters"].update_one(
            {"_id": "c"}, {"$inc": {"n": 1}, "$set": {"by": "updated-by-tests"}}, session=tx
        )
        return bodies

    assert await over_wire.transactions.run(body) == 2
    row = await mongo.db["counters"].find_one({})
    assert row is not None
    assert row["n"] == 1


async def test_a_database_that_is_away_is_said_to_be_away_within_seconds() -> None:
    nowhere = Mongo("mongodb://127.0.0.1:9/?replicaSet=rs0", "nothing", "tests")

    async def body(tx: Transaction) -> None:
        await nowhere.db["x"].insert_one({}, session=tx)

    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9") as away:
        await nowhere.transactions.run(body)
    assert is_unavailable(away.value)
    assert loop.time() - started < 5
    await nowhere.close()
    collect_half_open_sockets()
