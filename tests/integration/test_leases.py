"""One leader at a time by the server's clock, and a leader of yesterday writes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from shared.leases import Lease, LeaseLost
from shared.mongo import Mongo, Transaction
from tests.support.waiting import eventually

SHORT = timedelta(milliseconds=300)


def lease(mongo: Mongo, holder: str, ttl: timedelta = timedelta(seconds=30)) -> Lease:
    return Lease(mongo.db, "work", holder, ttl)


async def test_of_many_who_ask_at_once_one_gets_it(mongo: Mongo) -> None:
    candidates = [lease(mongo, f"replica-{n}") for n in range(12)]
    assert sum(await asyncio.gather(*(one.acquire() for one in candidates))) == 1
    assert sorted(one.token for one in candidates if one.token is not None) == [1]


async def test_the_holder_renews_under_the_same_token_and_nobody_else_gets_in(mongo: Mongo) -> None:
    holder, other = lease(mongo, "a"), lease(mongo, "b")
    assert await holder.acquire()
    for _ in range(3):
        assert await holder.acquire()
        assert not await other.acquire()
    assert (holder.token, other.token) == (1, None)


async def test_an_expired_lease_passes_on_with_a_higher_token(mongo: Mongo) -> None:
    first, second = lease(mongo, "a", SHORT), lease(mongo, "b")
    assert await first.acquire()
    assert not await second.acquire()
    assert await eventually(second.acquire, seconds=5)
    assert second.token == 2
    assert not await first.acquire()
    assert first.token is None


async def test_the_end_of_a_lease_is_told_by_the_servers_clock(mongo: Mongo) -> None:
    assert await lease(mongo, "a").acquire()
    pipeline = [{"$project": {"left": {"$subtract": ["$expiresAt", "$$NOW"]}}}]
    (row,) = await (await mongo.db["leases"].aggregate(pipeline)).to_list()
    assert 25_000 < row["left"] <= 30_000
    # A document that the server's clock calls expired is free, whatever this process's clock says.
    await mongo.db["leases"].update_one({}, [{"$set": {"expiresAt": {"$subtract": ["$$NOW", 1]}}}])
    assert await lease(mongo, "b").acquire()


async def test_giving_it_up_frees_it_at_once(mongo: Mongo) -> None:
    first, second = lease(mongo, "a"), lease(mongo, "b")
    assert await first.acquire()
    await first.release()
    assert await second.acquire()
    await first.release()
    assert not await first.acquire()


async def test_a_leader_that_slept_through_its_time_writes_nothing(mongo: Mongo) -> None:
    old, new = lease(mongo, "a", SHORT), lease(mongo, "b")
    assert await old.acquire()
    assert await eventually(new.acquire, seconds=5)

    async def write(tx: Transaction) -> None:
        await mongo.db["log"].insert_one({"by": "old"}, session=tx)
        await old.assert_held(tx)

    for _ in range(2):
        with pytest.raises(LeaseLost):
            await mongo.transactions.run(write)
    assert await mongo.db["log"].count_documents({}) == 0


async def test_a_leader_that_is_overtaken_inside_its_transaction_writes_nothing(mongo: Mongo) -> None:
    old, new = lease(mongo, "a", SHORT), lease(mongo, "b")
    await mongo.db["log"].insert_one({"by": "nobody"})
    assert await old.acquire()
    attempts = 0

    async def write(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await mongo.db["log"].find_one({}, session=tx)  # from here on the transaction sees the old lease
        if attempts == 1:
            assert await eventually(new.acquire, seconds=5)
        await old.assert_held(tx)
        await mongo.db["log"].insert_one({"by": "old"}, session=tx)

    with pytest.raises(LeaseLost):
        await mongo.transactions.run(write)
    assert attempts == 2
    assert [row["by"] async for row in mongo.db["log"].find()] == ["nobody"]


async def test_nobody_takes_over_between_the_fence_and_the_commit(mongo: Mongo) -> None:
    old, new = lease(mongo, "a", SHORT), lease(mongo, "b")
    assert await old.acquire()

    async def write(tx: Transaction) -> asyncio.Task[bool]:
        await old.assert_held(tx)
        row = await mongo.db["leases"].find_one({})
        assert row is not None
        await eventually(lambda: _expired(mongo), seconds=5)
        taking = asyncio.create_task(new.acquire())
        # The successor waits for this transaction; it has not led while we write.
        done, _ = await asyncio.wait([taking], timeout=0.3)
        assert not done
        await mongo.db["log"].insert_one({"by": "old"}, session=tx)
        return taking

    taking = await mongo.transactions.run(write)
    assert await taking
    assert new.token == 2
    assert await mongo.db["log"].count_documents({"by": "old"}) == 1


async def _expired(mongo: Mongo) -> bool:
    return await mongo.db["leases"].count_documents({"$expr": {"$lte": ["$expiresAt", "$$NOW"]}}) == 1
