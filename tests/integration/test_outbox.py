"""What has committed is published once, in the order of its versions, under a number without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from infrastructure.local.servers.nats import NatsServer
from shared import context
from shared.bus import Bus
from shared.leases import LeaseLost
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.tasks import end_tasks
from shared.topology import Topology
from tests.integration.parts import CLOCK, Streams, commit, connected, happened, held, relay_of
from tests.support.servers import TestDatabase
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("outbox_indexes")


async def test_an_aggregates_versions_leave_in_order_although_their_ids_do_not(
    mongo: Mongo, bus: Bus, streams: Streams
) -> None:
    await commit(mongo, happened(2, version=2), happened(20, "globex", 1), happened(1, version=1))
    assert await (await held(mongo, bus)).drain() == 3
    events = await streams.events()
    assert [(e["subject"], e["data"]["version"]) for e in events] == [
        ("tenants/acme", 1),
        ("tenants/globex", 1),
        ("tenants/acme", 2),
    ]
    assert [e["sourceseq"] for e in events] == [1, 2, 3]


async def test_what_did_not_commit_is_neither_published_nor_numbered(mongo: Mongo, bus: Bus, streams: Streams) -> None:
    outbox = Outbox(mongo, "tenant", CLOCK)

    async def abort(tx: Any) -> None:
        await outbox.add(tx, happened(99))
        raise LookupError

    await commit(mongo, happened(1))
    with pytest.raises(LookupError):
        await mongo.transactions.run(abort)
    await commit(mongo, happened(2))
    assert await (await held(mongo, bus)).drain() == 2
    assert [(e["sourceseq"], e["data"]["number"]) for e in await streams.events()] == [(1, 1), (2, 2)]


async def test_an_event_in_the_stream_is_a_cloudevent_with_its_request(
    mongo: Mongo, bus: Bus, streams: Streams
) -> None:
    context.bind(context.RequestContext(request_id="r-1", traceparent="00-a-b-01"))
    await commit(mongo, happened(7, version=3))
    context.bind(context.RequestContext())
    await (await held(mongo, bus)).drain()
    (event,) = await streams.events()
    assert {k: event[k] for k in ("specversion", "source", "type", "subject", "datacontenttype")} == {
        "specversion": "1.0",
        "source": "tenant",
        "type": "tenant.happened.v1",
        "subject": "tenants/acme",
        "datacontenttype": "application/json",
    }
    assert (event["requestid"], event["traceparent"], event["sourceseq"]) == ("r-1", "00-a-b-01", 1)
    assert event["data"]["action"] == "tenant.happened"


async def test_a_batch_that_holds_what_is_already_stored_goes_singly_and_nothing_is_doubled(
    mongo: Mongo, bus: Bus, streams: Streams
) -> None:
    await commit(mongo, happened(1), happened(2))
    relay = await held(mongo, bus)
    rows = await relay._number(await relay._select())
    await relay.publish(rows)  # and then the process died: nothing is marked
    await commit(mongo, *(happened(number) for number in range(3, 8)))
    successor = await held(mongo, bus)
    assert await successor.drain() == 7
    assert await streams.numbers() == [1, 2, 3, 4, 5, 6, 7]
    assert [e["sourceseq"] for e in await streams.events()] == [1, 2, 3, 4, 5, 6, 7]
    assert await successor.drain() == 0


async def test_more_than_a_batch_arrives_whole_and_in_order(mongo: Mongo, bus: Bus, streams: Streams) -> None:
    await commit(mongo, *(happened(number) for number in range(1_203)))
    relay = await held(mongo, bus)
    assert [await relay.drain(), await relay.drain(), await relay.drain()] == [1_000, 203, 0]
    state = (await streams.js.stream_info(streams.topology.stream_events)).state
    assert state.messages == 1_203
    for place in (1, 500, 501, 1_000, 1_001, 1_203):
        message = await streams.js.get_msg(streams.topology.stream_events, place)
        assert f'"sourceseq":{place}}}'.encode() in (message.data or b"")


async def test_two_replicas_publish_everything_once_in_order_while_the_lease_moves(
    mongo: Mongo, bus: Bus, nats_server: NatsServer, nats_topology: Topology, streams: Streams
) -> None:
    async with connected(nats_server, "tenant", nats_topology) as other_bus:
        relays = [relay_of(mongo, bus, "a"), relay_of(mongo, other_bus, "b")]
        tasks = [asyncio.create_task(relay.run()) for relay in relays]
        for start in range(0, 60, 6):
            await commit(mongo, *(happened(n, version=n + 1) for n in range(start, start + 6)))
            if start == 30:
                # The leader is taken for dead: the other one takes over in the middle.
                await mongo.db["leases"].update_one({}, {"$set": {"holder": "nobody"}, "$inc": {"token": 1}})
                await mongo.db["leases"].update_one({}, [{"$set": {"expiresAt": "$$NOW"}}])

        async def all_there() -> bool:
            return await mongo.db["outbox"].count_documents({"pending": True}) == 0

        await eventually(all_there)
        await end_tasks(tasks)
    assert await streams.numbers() == list(range(60))
    assert [e["sourceseq"] for e in await streams.events()] == list(range(1, 61))


async def test_a_relay_that_lost_its_lease_gives_no_number(mongo: Mongo, bus: Bus, streams: Streams) -> None:
    relay = await held(mongo, bus, "old")
    await commit(mongo, happened(1))
    await mongo.db["leases"].update_one({}, {"$set": {"holder": "new"}, "$inc": {"token": 1}})
    with pytest.raises(LeaseLost):
        await relay.drain()
    assert await streams.events() == []
    assert await mongo.db["counters"].count_documents({}) == 0


class BetweenBatches(CommandListener):
    """Acts once, when a cursor of the outbox asks for its second batch: in the middle of a scan."""

    def __init__(self, act: Any) -> None:
        self._act = act
        self.acted = False

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "getMore" and event.command["collection"] == "outbox" and not self.acted:
            self.acted = True
            self._act()

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


class ObservedMongo(Mongo):
    def __init__(self, database: TestDatabase, listener: CommandListener) -> None:
        super().__init__(database.uri, database.name, "tests")
        options: dict[str, Any] = {
            "codec_options": self.db.codec_options,
            "write_concern": self.db.write_concern,
            "read_concern": self.db.read_concern,
        }
        self.plain = self.client
        self.client = AsyncMongoClient(database.uri, event_listeners=[listener])
        self.db = self.client.get_database(database.name, **options)
        self.transactions = type(self.transactions)(self.client)


@pytest.fixture
async def interrupted(mongo: Mongo, database: TestDatabase) -> AsyncIterator[ObservedMongo]:
    """A database where versions 1 and 2 of an aggregate commit, one after the other, while the relay scans."""

    def two_commits() -> None:
        with MongoClient[dict[str, Any]](database.uri) as client:
            outbox = client[database.name]["outbox"]
            template = outbox.find_one()
            assert template is not None
            # The replica that made version 1 has a clock that lags: its id lies before the point that the scan reached.
            for version, row_id in (
                (1, "00000000-0000-7000-8000-000000000000"),
                (2, "ffffffff-ffff-7fff-bfff-ffffffffffff"),
            ):
                row = {**template, "_id": row_id, "aggregate": "tenants/late", "version": version}
                row["envelope"] = {**template["envelope"], "id": row_id, "subject": "tenants/late"}
                outbox.insert_one(row)

    listener = BetweenBatches(two_commits)
    observed = ObservedMongo(database, listener)
    yield observed
    assert listener.acted
    await observed.client.close()
    await observed.plain.close()


async def test_a_scan_that_two_commits_overtake_still_keeps_their_order(
    mongo: Mongo, interrupted: ObservedMongo, bus: Bus, streams: Streams
) -> None:
    await commit(mongo, *(happened(number, f"t{number}") for number in range(150)))
    relay = await held(interrupted, bus)
    while await relay.drain():
        pass
    late = [event["id"] for event in await streams.events() if event["subject"] == "tenants/late"]
    assert late == ["00000000-0000-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"]


async def test_published_rows_are_kept_for_a_week(mongo: Mongo, bus: Bus) -> None:
    await commit(mongo, happened(1))
    await (await held(mongo, bus)).drain()
    row = await mongo.db["outbox"].find_one({})
    assert row is not None
    assert "pending" not in row
    assert row["publishedAt"].tzinfo is not None
    indexes = await mongo.db["outbox"].index_information()
    assert [i["expireAfterSeconds"] for i in indexes.values() if "expireAfterSeconds" in i] == [7 * 24 * 3600]
