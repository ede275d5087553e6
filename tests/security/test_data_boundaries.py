"""With the users, roles and permissions of the fleet: each process can do all that it needs, and nothing beside it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from infrastructure.bootstrap import database_access
from infrastructure.bootstrap.streams import ensure
from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer, NatsUser, render_config
from shared.app import COMMON_INDEXES
from shared.bus import Bus, BusUnavailable, Outgoing
from shared.contracts import CloudEvent
from shared.idempotency import Answer, IdempotencyClaim
from shared.ids import new_id
from shared.inbox import EventConsumer
from shared.mongo import Mongo, Transaction
from shared.tasks import end_tasks
from shared.topology import PROCESSES, ConsumerSpec, Topology
from tests.integration.parts import CLOCK, Streams, commit, envelope, happened, outgoing, relay_of
from tests.support.servers import free_port
from tests.support.waiting import eventually

UNAUTHORIZED = 13
PASSWORD = "a-password-of-tests"
TOPOLOGY = Topology()


@pytest.fixture(scope="module")
def passwords(mongod: MongodServer) -> Iterator[dict[str, str]]:
    made = {user.name: secrets.token_hex(8) for user in database_access.USERS}
    with MongoClient[dict[str, Any]](mongod.uri) as root:
        database_access.apply(root, made)
        yield made
        for name in {user.database for user in database_access.USERS}:
            for collection in root[name].list_collection_names():
                root[name].drop_collection(collection)


@pytest.fixture
async def open_as(mongod: MongodServer, passwords: dict[str, str]) -> AsyncIterator[Callable[[str, str], Mongo]]:
    """Opens a database as a user of the table."""
    opened: list[Mongo] = []

    def open_database(user: str, database: str) -> Mongo:
        auth = f"{user}:{passwords[user]}@127.0.0.1:{mongod.port}/{database}?replicaSet=rs0&authSource="
        home = next(u.database for u in database_access.USERS if u.name == user)
        opened.append(Mongo(f"mongodb://{auth}{home}", database, "tests"))
        return opened[-1]

    yield open_database
    for mongo in opened:
        await mongo.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server that gives every process its row of the topology and no more."""
    directory = tmp_path_factory.mktemp("guarded-nats")
    users = [NatsUser("admin", PASSWORD)]
    for process in PROCESSES:
        allowed = TOPOLOGY.permissions(process.name)
        users.append(NatsUser(process.name, PASSWORD, allowed["publish"], allowed["subscribe"]))
    port, monitor = free_port(), free_port()
    server = NatsServer(directory, port, monitor, render_config(port, monitor, directory / "jetstream", users))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def streams(guarded: NatsServer) -> AsyncIterator[Streams]:
    admin = await nats.connect(url(guarded, "admin"))
    await ensure(admin, TOPOLOGY)
    js = admin.jetstream()
    yield Streams(js, TOPOLOGY)
    for stream in (TOPOLOGY.stream_events, TOPOLOGY.stream_dead):
        await js.delete_stream(stream)
    await admin.close()


def url(server: NatsServer, process: str) -> str:
    return f"nats://{process}:{PASSWORD}@127.0.0.1:{server.port}"


Connect = Callable[[str], Awaitable["Intruder"]]


class Intruder:
    """A process's own credentials in the hands of somebody who speaks NATS directly."""

    def __init__(self, client: Client, refusals: list[str]) -> None:
        self.client = client
        self.refusals = refusals

    async def is_refused(self, direction: str, subject: str) -> None:
        """Wait until the server has said that it refuses ``subject``."""

        async def said() -> bool:
            return any(f'permissions violation for {direction} to "{subject.lower()}"' in r for r in self.refusals)

        await eventually(said, seconds=5, what=f"refusal of {subject}; heard {self.refusals}")


@pytest.fixture
async def intrude(guarded: NatsServer, streams: Streams) -> AsyncIterator[Connect]:
    opened: list[Client] = []

    async def connect(process: str) -> Intruder:
        refusals: list[str] = []

        async def refused(error: Exception) -> None:
            refusals.append(str(error).lower())

        client = await nats.connect(url(guarded, process), error_cb=refused, inbox_prefix=f"_INBOX.{process}")
        opened.append(client)
        return Intruder(client, refusals)

    yield connect
    for client in opened:
        await client.close()


@pytest.fixture
async def buses(guarded: NatsServer, streams: Streams) -> AsyncIterator[dict[str, Bus]]:
    """Each process's connection, by the product's own code."""
    made = {process.name: Bus(url(guarded, process.name), process.name, TOPOLOGY) for process in PROCESSES}
    for bus in made.values():
        bus.start()
        await bus.wait_connected()
    yield made
    for bus in made.values():
        await bus.close()


OpenAs = Callable[[str, str], Mongo]


async def test_an_event_goes_from_the_tenant_service_to_audit_under_their_own_users(
    open_as: OpenAs, buses: dict[str, Bus], streams: Streams
) -> None:
    tenant, audit = open_as("tenant", "tenant"), open_as("audit", "audit")
    await tenant.ensure_indexes(COMMON_INDEXES)
    await audit.ensure_indexes(COMMON_INDEXES)

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        await audit.db["entries"].insert_one({"_id": event.sourceseq, "number": event.data["number"]}, session=tx)

    tasks = [
        asyncio.create_task(relay_of(tenant, buses["tenant"]).run()),
        asyncio.create_task(EventConsumer(buses["audit"], "audit-chain", audit, handle, CLOCK).run()),
    ]
    await commit(tenant, *(happened(number) for number in range(7)))

    async def arrived() -> bool:
        chained = await audit.db["entries"].count_documents({"number": {"$in": list(range(7))}}) == 7
        return chained and await streams.unacknowledged() == 0

    await eventually(arrived)
    # What the handler cannot do goes to the dead letters, under audit's own user as well.
    clash = {**envelope(1), "data": {"number": 1}}
    await buses["tenant"].publish([outgoing(TOPOLOGY, {**clash, "source": "audit"})])
    assert await eventually(streams.dead)
    await end_tasks(tasks)
    assert await tenant.db["outbox"].count_documents({"pending": True}) == 0


async def test_a_service_can_claim_keys_hold_leases_and_watch_its_outbox(open_as: OpenAs) -> None:
    for user in ("tenant", "audit"):
        mongo = open_as(user, user)
        await mongo.ensure_indexes(COMMON_INDEXES)
        claim = IdempotencyClaim(mongo, CLOCK, IdempotencyClaim.id_of(user, "r", new_id()), "b")
        await mongo.transactions.run(lambda _: asyncio.sleep(0), claim.answering(lambda _: Answer(200, {}, b"")))
        async with await mongo.db["outbox"].watch() as changes:
            assert changes.alive


@pytest.mark.parametrize(("user", "foreign"), [("tenant", "audit"), ("audit", "tenant"), ("audit_archiver", "tenant")])
async def test_a_service_cannot_look_into_anothers_database(open_as: OpenAs, user: str, foreign: str) -> None:
    mongo = open_as(user, foreign)
    rows = mongo.db["outbox"]
    attempts: list[Callable[[], Awaitable[Any]]] = [
        rows.find_one,
        lambda: rows.count_documents({}),
        lambda: rows.insert_one({}),
        lambda: rows.update_one({}, {"$set": {"x": 1}}),
        lambda: rows.delete_one({}),
        rows.drop,
        rows.watch,
        mongo.db.list_collection_names,
        lambda: mongo.db.command("createUser", "mine", pwd="x", roles=["readWrite"]),
        lambda: mongo.client["admin"]["system.users"].find_one(),
        lambda: mongo.client["local"]["oplog.rs"].find_one(),
    ]
    for attempt in attempts:
        with pytest.raises(OperationFailure) as refused:
            await attempt()
        assert refused.value.code == UNAUTHORIZED


async def test_no_lookup_reaches_across_databases(open_as: OpenAs) -> None:
    tenant = open_as("tenant", "tenant")
    await tenant.db["x"].insert_one({})
    for stage in (
        {"$out": {"db": "audit", "coll": "entries"}},
        {"$merge": {"into": {"db": "audit", "coll": "entries"}}},
        {"$lookup": {"from": {"db": "audit", "coll": "entries"}, "pipeline": [], "as": "stolen"}},
    ):
        with pytest.raises(OperationFailure):
            await (await tenant.db["x"].aggregate([stage])).to_list()
    await tenant.db["x"].drop()


@pytest.mark.parametrize("collection", ["entries", "checkpoints"])
async def test_audits_own_user_changes_and_removes_no_entry_in_any_way(
    open_as: OpenAs, mongod: MongodServer, collection: str
) -> None:
    entry_id = new_id()
    audit = open_as("audit", "audit")
    rows = audit.db[collection]
    await rows.insert_one({"_id": entry_id, "hash": "h"})

    async def in_transaction(tx: Transaction) -> None:
        await rows.update_one({"_id": entry_id}, {"$set": {"hash": "x"}}, session=tx)

    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: rows.update_one({"_id": entry_id}, {"$set": {"hash": "x"}}),
        lambda: rows.update_many({}, {"$set": {"hash": "x"}}),
        lambda: rows.replace_one({"_id": entry_id}, {"hash": "x"}),
        lambda: rows.find_one_and_delete({"_id": entry_id}),
        lambda: rows.delete_many({}),
        lambda: audit.transactions.run(in_transaction),
        rows.drop,
        lambda: rows.rename("elsewhere"),
        lambda: audit.db.command("collMod", collection, validator={"hash": "x"}),
        lambda: audit.client.drop_database("audit"),
    ]
    for attempt in attempts:
        with pytest.raises(OperationFailure) as refused:
            await attempt()
        assert refused.value.code == UNAUTHORIZED
    async with AsyncMongoClient[dict[str, Any]](mongod.uri) as root:
        kept = await root["audit"][collection].find_one({"_id": entry_id})
    assert kept == {"_id": entry_id, "hash": "h"}


FOREIGN = [(p.name, word) for p in PROCESSES for other in PROCESSES if other is not p for word in other.owns]


@pytest.mark.parametrize(("process", "word"), FOREIGN)
async def test_a_process_cannot_publish_what_another_owns(
    intrude: Connect, streams: Streams, process: str, word: str
) -> None:
    intruder = await intrude(process)
    subject = f"events.{word}.happened.v1"
    await intruder.client.publish(subject, b"{}")
    await intruder.is_refused("publish", subject)
    assert await streams.events() == []


async def test_a_forged_batch_by_the_products_own_code_is_refused_whole(
    buses: dict[str, Bus], streams: Streams
) -> None:
    own = Outgoing("events.tenant.happened.v1", new_id(), b'{"data":{"number":1}}')
    forged = Outgoing("events.audit.verified.v1", new_id(), b"{}")
    with pytest.raises(BusUnavailable):
        await buses["tenant"].publish([own, forged])
    assert await streams.events() == []


TENDS_DEAD_LETTERS = "health"  # ADR 21: it alone buries a dead letter again, without who was erased
CONSUMERS = [(p.name, spec) for p in PROCESSES for other in PROCESSES if other is not p for spec in other.consumers]


@pytest.mark.parametrize(("process", "spec"), CONSUMERS, ids=[f"{process}-{spec.name}" for process, spec in CONSUMERS])
async def test_a_process_cannot_pull_acknowledge_or_bury_for_anothers_consumer(
    intrude: Connect, buses: dict[str, Bus], streams: Streams, process: str, spec: ConsumerSpec
) -> None:
    await buses["tenant"].publish([outgoing(TOPOLOGY, envelope(1))])

    consumer = spec.name
    hears = any(types in {">", "tenant.>"} for types in spec.types)

    async def waiting() -> bool:
        return await streams.unacknowledged(consumer) == int(hears)

    await eventually(waiting)
    intruder = await intrude(process)
    stolen: list[Msg] = []

    async def steal(message: Msg) -> None:
        stolen.append(message)

    await intruder.client.subscribe(f"_INBOX.{process}.loot", cb=steal)
    burying = [] if process == TENDS_DEAD_LETTERS else [f"dead.{consumer}.tenant.created.v1"]
    for subject in (
        f"$JS.API.CONSUMER.MSG.NEXT.EVENTS.{consumer}",
        f"$JS.API.CONSUMER.INFO.EVENTS.{consumer}",
        f"$JS.ACK.EVENTS.{consumer}.1.1.1.1.0",
        *burying,
    ):
        await intruder.client.publish(subject, b"1", reply=f"_INBOX.{process}.loot")
        await intruder.is_refused("publish", subject)
    await intruder.client.flush()
    assert stolen == []
    assert await waiting()
    assert await streams.dead() == []


@pytest.mark.parametrize("process", [process.name for process in PROCESSES])
async def test_a_process_makes_no_consumer_and_reads_no_stream_around_its_own(
    intrude: Connect, buses: dict[str, Bus], streams: Streams, process: str
) -> None:
    await buses["tenant"].publish([outgoing(TOPOLOGY, envelope(1))])
    intruder = await intrude(process)
    config = b'{"stream_name":"EVENTS","config":{"durable_name":"mine","name":"mine","ack_policy":"none"}}'
    for subject, body in (
        ("$JS.API.CONSUMER.CREATE.EVENTS", config),
        ("$JS.API.CONSUMER.CREATE.EVENTS.mine", config),
        ("$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine", config),
        ("$JS.API.CONSUMER.DELETE.EVENTS.audit-chain", b""),
        ("$JS.API.STREAM.MSG.GET.EVENTS", b'{"seq":1}'),
        ("$JS.API.DIRECT.GET.EVENTS", b'{"seq":1}'),
        ("$JS.API.DIRECT.GET.EVENTS.events.tenant.happened.v1", b""),
        ("$JS.API.STREAM.PURGE.EVENTS", b""),
        ("$JS.API.STREAM.DELETE.EVENTS", b""),
        ("$JS.API.STREAM.CREATE.MINE", b'{"name":"MINE","subjects":["events.>"]}'),
        ("$JS.API.STREAM.CREATE.COPY", b'{"name":"COPY","mirror":{"name":"EVENTS"}}'),
    ):
        with pytest.raises((NatsError, asyncio.TimeoutError)):
            await intruder.client.request(subject, body, timeout=0.1)
        await intruder.is_refused("publish", subject)
    with pytest.raises(NotFoundError):
        await streams.js.consumer_info("EVENTS", "mine")
    assert len(await streams.events()) == 1

    async def waiting() -> bool:
        return await streams.unacknowledged() == 1

    await eventually(waiting)


@pytest.mark.parametrize("process", [process.name for process in PROCESSES])
async def test_a_process_hears_no_inbox_but_its_own_and_no_event_beyond_its_row(
    intrude: Connect, buses: dict[str, Bus], process: str
) -> None:
    intruder = await intrude(process)
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    others = [f"_INBOX.{other.name}.>" for other in PROCESSES if other.name != process]
    for subject in (*others, "_INBOX.>", "_INBOX.*.*", ">", "events.>", "$JS.>", "dead.>", "$KV.>"):
        await intruder.client.subscribe(subject, cb=hear)
        await intruder.is_refused("subscription", subject)
    await buses["tenant"].publish([outgoing(TOPOLOGY, envelope(number)) for number in range(3)])
    puller = buses["audit"].puller("audit-chain")
    assert await puller.fetch(3, 5)
    await puller.close()
    await intruder.client.flush()
    assert heard == []
