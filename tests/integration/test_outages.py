"""MongoDB and NATS are killed and come back, with their data; nobody restarts a service for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from infrastructure.bootstrap.streams import ensure
from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer
from services.tenant.main import build
from services.tenant.settings import TenantSettings
from shared.bus import Bus
from shared.contracts import CloudEvent
from shared.inbox import INDEXES as INBOX_INDEXES
from shared.inbox import EventConsumer
from shared.mongo import Mongo, Transaction
from shared.outbox import INDEXES as OUTBOX_INDEXES
from shared.tasks import end_tasks
from shared.testing import Callers, operator, partner_person, public_keys, seed_text
from shared.topology import Topology
from tests.integration.parts import (
    CLOCK,
    Streams,
    administrator,
    collect_half_open_sockets,
    commit,
    connected,
    envelope,
    happened,
    hasten,
    outgoing,
    relay_of,
)
from tests.support.servers import LiveServer, free_port, nats_url, start_nats
from tests.support.waiting import eventually

CALLERS = Callers("tenant")


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = start_nats(tmp_path / "nats")
    yield server
    server.kill()


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[MongodServer]:
    server = MongodServer(tmp_path / "mongod", free_port())
    server.start()
    yield server
    server.kill()
    collect_half_open_sockets()


@pytest.fixture
async def own_streams(own_nats: NatsServer) -> AsyncIterator[Streams]:
    made = Topology()
    admin = await nats.connect(nats_url(own_nats, "admin"))
    await ensure(admin, made)
    await admin.close()
    async with administrator(own_nats, made) as streams:
        await hasten(streams)
        yield streams


@pytest.fixture
async def own_mongo(own_mongod: MongodServer) -> AsyncIterator[Mongo]:
    opened = Mongo(own_mongod.uri, "outage", "tests")
    await opened.ensure_indexes({**INBOX_INDEXES, **OUTBOX_INDEXES})
    yield opened
    await opened.close()


async def effects_of(mongo: Mongo) -> list[int]:
    return sorted([row["number"] async for row in mongo.db["effects"].find()])


async def test_nats_is_killed_under_load_and_every_event_has_its_effect_once(
    mongo: Mongo, own_nats: NatsServer, own_streams: Streams
) -> None:
    await mongo.ensure_indexes({**INBOX_INDEXES, **OUTBOX_INDEXES})
    await mongo.db.create_collection("effects")

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        await mongo.db["effects"].insert_one({"number": event.data["number"]}, session=tx)

    async with (
        connected(own_nats, "tenant", own_streams.topology) as tenant,
        connected(own_nats, "audit", own_streams.topology) as audit,
    ):
        reconnected: list[str] = []
        audit.on_reconnect(lambda: reconnected.append("audit"))
        relay = asyncio.create_task(relay_of(mongo, tenant).run())
        consumer = asyncio.create_task(EventConsumer(audit, "audit-chain", mongo, handle, CLOCK).run())
        for number in range(10):
            await commit(mongo, happened(number))

        async def some() -> bool:
            return bool(await effects_of(mongo))

        await eventually(some)
        for _ in range(2):
            own_nats.kill()
            start = number + 1
            for number in range(start, start + 10):
                began = time.monotonic()
                await commit(mongo, happened(number))
                assert time.monotonic() - began < 2, "a write must not wait for NATS"
            assert await mongo.db["outbox"].count_documents({"pending": True}) >= 10
            await eventually(_is(tenant, False))
            own_nats.start()
            await eventually(_is(tenant, True))
            assert not relay.done()

        async def all_done() -> bool:
            return await effects_of(mongo) == list(range(30))

        await eventually(all_done, seconds=30)
        assert reconnected
        await end_tasks([relay, consumer])
    async with administrator(own_nats, own_streams.topology) as streams:
        assert await streams.numbers() == list(range(30))
        assert [event["sourceseq"] for event in await streams.events()] == list(range(1, 31))
        assert await streams.dead() == []


def _is(bus: Bus, state: bool) -> Any:
    async def look() -> bool:
        return bus.connected is state

    return look


async def test_a_puller_asks_again_as_soon_as_nats_is_back(own_nats: NatsServer, own_streams: Streams) -> None:
    async with (
        connected(own_nats, "tenant", own_streams.topology) as tenant,
        connected(own_nats, "audit", own_streams.topology) as audit,
    ):
        puller = audit.puller("audit-chain")
        assert await puller.fetch(10, 0.1) == []  # its request stays open, for the server that is about to die
        own_nats.kill()
        await eventually(_is(audit, False))
        own_nats.start()
        await eventually(_is(audit, True))
        await eventually(_is(tenant, True))
        await tenant.publish([outgoing(own_streams.topology, envelope(1))])
        # The lost request would have lasted five seconds, and two more until it is called overdue.
        await eventually(lambda: puller.fetch(10, 0.5), seconds=3)
        await puller.close()


async def test_a_process_that_starts_before_nats_joins_when_it_comes(own_nats: NatsServer) -> None:
    own_nats.kill()
    bus = Bus(nats_url(own_nats, "tenant"), "tenant", Topology())
    bus.start()
    with pytest.raises(AssertionError):
        await eventually(_is(bus, True), seconds=1)
    own_nats.start()
    await eventually(_is(bus, True))
    await bus.close()


class Listening(Bus):
    """Notes what the consumer answers to a delivery."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answers: list[bytes] = []

    async def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        if not reply:
            self.answers.append(payload)
        await super().send(subject, payload, reply)


async def test_an_outage_of_the_database_counts_nothing_against_an_event_and_buries_nothing(
    own_mongod: MongodServer, own_mongo: Mongo, own_nats: NatsServer, own_streams: Streams
) -> None:
    entered = asyncio.Event()
    go_on = asyncio.Event()

    async def handle(event: CloudEvent, tx: Transaction) -> None:
        entered.set()
        await go_on.wait()
        await own_mongo.db["effects"].insert_one({"number": event.data["number"]}, session=tx)

    await own_mongo.db.create_collection("effects")
    audit = Listening(nats_url(own_nats, "audit"), "audit", own_streams.topology)
    audit.start()
    consumer = asyncio.create_task(EventConsumer(audit, "audit-chain", own_mongo, handle, CLOCK).run())
    async with connected(own_nats, "tenant", own_streams.topology) as tenant:
        await tenant.publish([outgoing(own_streams.topology, envelope(number)) for number in range(3)])
    await asyncio.wait_for(entered.wait(), 10)
    own_mongod.kill()
    go_on.set()

    async def handed_back() -> bool:
        return len(audit.answers) >= 3

    await eventually(handed_back, seconds=45)
    assert all(answer.startswith(b"-NAK") for answer in audit.answers)
    assert not consumer.done()
    own_mongod.start()

    async def done() -> bool:
        return await effects_of(own_mongo) == [0, 1, 2] and await own_streams.unacknowledged() == 0

    await eventually(done, seconds=45)
    assert await own_mongo.db["consumer_failures"].count_documents({}) == 0
    assert await own_streams.dead() == []
    await end_tasks([consumer])
    await audit.close()


async def test_while_mongodb_is_away_a_service_says_so_and_recovers_without_a_restart(
    own_mongod: MongodServer, own_mongo: Mongo, own_nats: NatsServer, own_streams: Streams
) -> None:
    settings = TenantSettings.model_validate(
        {
            "port": free_port(),
            "mongo_uri": own_mongod.uri,
            "mongo_database": "outage",
            "nats_url": nats_url(own_nats, "tenant"),
            "internal_signing_key": seed_text("tenant"),
            "internal_signing_kid": "tenant-1",
            "internal_public_keys": public_keys(),
            "certificate_key": seed_text("certificate"),
        }
    )
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as http,
    ):

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        async def create(slug: str) -> httpx.Response:
            body = {"slug": slug, "name": "Acme", "plan": "business", "seats": 1}
            return await http.post("/api/tenants", json=body, headers=CALLERS.headers(partner_person("nordic")))

        await eventually(ready)
        await own_mongo.db["partners"].insert_one({"_id": "nordic", "slug": "nordic", "status": "active", "version": 1})
        sold = {"plan": "business", "cycle": "month", "currencies": ["EUR"], "archived": False, "version": 1}
        await own_mongo.db["prices"].insert_one({"_id": "business-month", **sold})
        assert (await create("before")).status_code == 201
        own_mongod.kill()
        began = time.monotonic()
        replies = await asyncio.gather(
            create("during"),
            http.get("/api/tenants/before", headers=CALLERS.headers(operator())),
            http.get("/api/tenants", headers=CALLERS.headers(operator())),
            http.post(
                "/api/tenants/before/suspend", json={"reason": "x"}, headers=CALLERS.headers(partner_person("nordic"))
            ),
        )
        assert time.monotonic() - began < 15, "the gateway waits no longer for an answer"
        for reply in replies:
            assert reply.status_code == 503, reply.text
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json()["code"] == "unavailable"
            assert "127.0.0.1" not in reply.text
        began = time.monotonic()
        assert (await create("during")).status_code == 503
        assert time.monotonic() - began < 6, "an outage that is known is said at once"
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200
        own_mongod.start()
        await eventually(ready, seconds=45)

        async def created() -> bool:
            return (await create("after")).status_code in {201, 409}

        await eventually(created, seconds=10)

        async def published() -> bool:
            return [e["subject"] for e in await own_streams.events()] == ["tenants/before", "tenants/after"]

        await eventually(published, seconds=45)
        assert await own_mongo.db["tenants"].count_documents({"slug": "during"}) == 0
