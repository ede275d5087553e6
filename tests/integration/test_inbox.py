"""An event has its effect once; poison is set aside without delaying anybody; nobody speaks for another."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shared.bus import Bus, Outgoing
from shared.contracts import CloudEvent
from shared.ids import new_id
from shared.inbox import INDEXES, EventConsumer
from shared.mongo import Mongo, Transaction
from shared.tasks import end_tasks
from shared.topology import Topology
from tests.integration.parts import CLOCK, Streams, envelope, outgoing
from tests.support.waiting import eventually

POISON = 666


class Effects:
    """A handler that writes one row per event, and fails on the poisoned one after it has written."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self.calls: Counter[int] = Counter()

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        number = event.data["number"]
        self.calls[number] += 1
        await self._mongo.db["effects"].insert_one({"number": number}, session=tx)
        if number == POISON:
            raise LookupError("no such\r\nPlan: it cannot be handled")

    async def numbers(self) -> list[int]:
        return sorted([row["number"] async for row in self._mongo.db["effects"].find()])


Start = Callable[..., Awaitable[None]]


@pytest.fixture
async def effects(mongo: Mongo) -> Effects:
    await mongo.ensure_indexes(INDEXES)
    await mongo.db.create_collection("effects")
    return Effects(mongo)


@pytest.fixture
async def consume(mongo: Mongo, audit_bus: Bus, effects: Effects) -> AsyncIterator[Start]:
    running: list[asyncio.Task[None]] = []

    async def start(generation: int = 1, *, instead: bool = False) -> None:
        if instead:
            await end_tasks(running)
        consumer = EventConsumer(audit_bus, "audit-chain", mongo, effects.handle, CLOCK, generation=generation)
        running.append(asyncio.create_task(consumer.run()))

    yield start
    await end_tasks(running)


async def settled(streams: Streams) -> bool:
    return await streams.unacknowledged() == 0


async def test_an_event_that_comes_three_times_has_one_effect(
    bus: Bus, streams: Streams, effects: Effects, consume: Start, nats_topology: Topology
) -> None:
    events = [envelope(1), envelope(2)]
    messages = [outgoing(nats_topology, event) for event in [*events, *events]]
    await bus.publish(messages)
    await consume()
    await eventually(lambda: settled(streams))
    await bus.publish([outgoing(nats_topology, events[0])])
    await eventually(lambda: settled(streams))
    assert len(await streams.events()) == 5
    assert await effects.numbers() == [1, 2]


async def test_two_replicas_on_one_consumer_share_the_work_and_double_nothing(
    bus: Bus, streams: Streams, effects: Effects, consume: Start, nats_topology: Topology
) -> None:
    events = [envelope(number) for number in range(150)]
    await consume()
    await consume()
    await bus.publish([outgoing(nats_topology, event) for event in [*events, *reversed(events)]])
    await eventually(lambda: settled(streams))
    assert await effects.numbers() == list(range(150))
    assert await streams.dead() == []


async def test_a_new_generation_handles_again_what_the_old_one_has_seen(
    bus: Bus, streams: Streams, effects: Effects, consume: Start, nats_topology: Topology
) -> None:
    event = envelope(1)
    await consume(generation=1)
    await bus.publish([outgoing(nats_topology, event)])
    await eventually(lambda: settled(streams))
    await consume(generation=2, instead=True)

    await bus.publish([outgoing(nats_topology, event)])
    await eventually(lambda: settled(streams))
    assert await effects.numbers() == [1, 1]


async def test_poison_is_buried_within_a_minute_after_five_attempts_and_delays_nobody(
    mongo: Mongo, bus: Bus, streams: Streams, effects: Effects, consume: Start, nats_topology: Topology
) -> None:
    loop = asyncio.get_running_loop()
    poison = outgoing(nats_topology, envelope(POISON))
    neighbours = [outgoing(nats_topology, envelope(number)) for number in range(20)]
    await bus.publish([*neighbours[:10], poison, *neighbours[10:]])
    started = loop.time()
    await consume()

    async def neighbours_done() -> bool:
        return await effects.numbers() == list(range(20))

    await eventually(neighbours_done, seconds=5)
    await bus.publish([outgoing(nats_topology, envelope(100))])

    async def newcomer_done() -> bool:
        return await effects.numbers() == [*range(20), 100]

    await eventually(newcomer_done, seconds=5)
    assert await streams.dead() == []
    ((body, headers),) = await eventually(streams.dead, seconds=60 - (loop.time() - started))
    assert body == poison.payload
    assert headers["Dezky-Consumer"] == "audit-chain"
    assert "LookupError" in headers["Dezky-Reason"]
    await eventually(lambda: settled(streams), seconds=5)
    # Once together with its neighbours, then four times alone and once more: five counted failures.
    row = await mongo.db["consumer_failures"].find_one({})
    assert row is not None
    assert row["count"] == 5
    assert await effects.numbers() == [*range(20), 100]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(
            lambda: json.dumps(envelope(1, source="audit")).encode(), id="a source that does not own its type"
        ),
        pytest.param(
            lambda: json.dumps(envelope(1, source="nobody", type="x.y.v1")).encode(), id="an owner of nothing"
        ),
        pytest.param(
            lambda: json.dumps(envelope(1, type="tenant.created.v1")).encode(), id="a type that is not its subject's"
        ),
        pytest.param(lambda: b"no json \xff", id="no JSON"),
        pytest.param(lambda: b"", id="nothing"),
        pytest.param(lambda: json.dumps({"number": 1}).encode(), id="no envelope"),
        pytest.param(lambda: json.dumps(envelope(1, specversion="0.3")).encode(), id="another version of CloudEvents"),
        pytest.param(lambda: json.dumps(envelope(1, data=[1])).encode(), id="data that is no object"),
    ],
)
async def test_what_no_attempt_can_help_is_buried_at_once(
    bus: Bus,
    streams: Streams,
    effects: Effects,
    consume: Start,
    nats_topology: Topology,
    broken: Callable[[], bytes],
) -> None:
    payload = broken()
    message = Outgoing(nats_topology.subject("tenant.happened.v1"), new_id(), payload)
    await bus.publish([message, outgoing(nats_topology, envelope(2))])
    await consume()
    ((body, headers),) = await eventually(streams.dead, seconds=5)
    assert body == payload
    assert headers["Dezky-Reason"]
    await eventually(lambda: settled(streams), seconds=5)
    assert await effects.numbers() == [2]
    assert effects.calls[1] == 0


async def test_inbox_rows_outlive_the_stream(mongo: Mongo, effects: Effects) -> None:
    assert effects.calls.total() == 0
    indexes: Any = await mongo.db["inbox"].index_information()
    assert [i["expireAfterSeconds"] for i in indexes.values() if "expireAfterSeconds" in i] == [35 * 24 * 3600]
