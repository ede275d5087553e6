"""Idempotency keys against a real MongoDB: claimed in the transaction, bound to caller, route and body."""

from __future__ import annotations

import asyncio

import pytest

from shared.idempotency import (
    INDEXES,
    Answer,
    IdempotencyClaim,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    Replay,
)
from shared.mongo import Mongo, Transaction
from tests.integration.parts import CLOCK

ANSWER = Answer(201, {"content-type": "application/json", "etag": '"1"'}, b'{"slug":"acme"}\x00\xff')


def claim(
    mongo: Mongo, caller: str = "person:1:portal", body: str = "b", key: str = "k", route: str = "POST /x"
) -> IdempotencyClaim:
    return IdempotencyClaim(mongo, CLOCK, IdempotencyClaim.id_of(caller, route, key), body).answering(lambda _: ANSWER)


async def create(mongo: Mongo, claimed: IdempotencyClaim) -> None:
    async def body(tx: Transaction) -> None:
        await mongo.db["made"].insert_one({}, session=tx)

    await mongo.transactions.run(body, claimed)


@pytest.fixture(autouse=True)
async def collections(mongo: Mongo) -> None:
    """As at a service's start: what a transaction creates would block its twin until it commits."""
    await mongo.ensure_indexes(INDEXES)
    await mongo.db.create_collection("made")


async def made(mongo: Mongo) -> int:
    return await mongo.db["made"].count_documents({})


async def test_the_same_request_again_gets_the_stored_answer_to_the_byte(mongo: Mongo) -> None:
    await create(mongo, claim(mongo))
    for _ in range(2):
        with pytest.raises(Replay) as replayed:
            await create(mongo, claim(mongo))
        assert replayed.value.answer == ANSWER
    assert await made(mongo) == 1


async def test_another_body_under_the_key_is_refused(mongo: Mongo) -> None:
    await create(mongo, claim(mongo))
    with pytest.raises(IdempotencyKeyReused):
        await create(mongo, claim(mongo, body="other"))
    assert await made(mongo) == 1


@pytest.mark.parametrize(
    "other", [{"caller": "person:2:portal"}, {"caller": "person:1:operator"}, {"route": "POST /y"}]
)
async def test_another_caller_or_route_does_not_meet_the_key(mongo: Mongo, other: dict[str, str]) -> None:
    await create(mongo, claim(mongo))
    await create(mongo, claim(mongo, **other))
    assert await made(mongo) == 2


async def test_no_part_of_an_id_runs_into_the_next() -> None:
    assert IdempotencyClaim.id_of("a", "b", "cd") != IdempotencyClaim.id_of("a", "bc", "d")


async def test_a_twin_in_flight_is_refused_at_once_and_answered_afterwards(mongo: Mongo) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction) -> None:
        await mongo.db["made"].insert_one({}, session=tx)
        inside.set()
        await go_on.wait()

    first = asyncio.create_task(mongo.transactions.run(slow, claim(mongo)))
    await inside.wait()
    with pytest.raises(IdempotencyInProgress):
        async with asyncio.timeout(2):
            await create(mongo, claim(mongo))
    go_on.set()
    await first
    with pytest.raises(Replay):
        await create(mongo, claim(mongo))
    assert await made(mongo) == 1


async def test_of_many_twins_at_once_one_acts(mongo: Mongo) -> None:
    outcomes = await asyncio.gather(*(create(mongo, claim(mongo)) for _ in range(10)), return_exceptions=True)
    assert outcomes.count(None) == 1
    assert all(o is None or isinstance(o, Replay | IdempotencyInProgress) for o in outcomes)
    assert await made(mongo) == 1


async def test_a_request_that_failed_frees_its_key(mongo: Mongo) -> None:
    async def fail(_: Transaction) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await mongo.transactions.run(fail, claim(mongo))
    await create(mongo, claim(mongo))
    assert await made(mongo) == 1


async def test_without_a_key_every_request_acts(mongo: Mongo) -> None:
    for _ in range(2):
        await create(mongo, IdempotencyClaim(mongo, CLOCK, None, ""))
    assert await made(mongo) == 2


async def test_keys_are_kept_for_a_day(mongo: Mongo) -> None:
    indexes = await mongo.db["idempotency"].index_information()
    assert [index["expireAfterSeconds"] for index in indexes.values() if "expireAfterSeconds" in index] == [24 * 3600]
