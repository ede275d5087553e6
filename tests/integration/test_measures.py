"""What metrics say is what lies in MongoDB and NATS, whichever replica is asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from prometheus_client import REGISTRY, Gauge

from infrastructure.local.servers.nats import NatsServer
from services.billing.measures import measures as of_billing
from services.billing.repository import PriceRepository, SubscriptionRepository
from services.health.measures import measures as of_health
from services.health.models import ProbeState
from services.health.repository import ProbeRepository
from services.tenant.measures import measures as of_tenant
from services.tenant.people.tasks.models import Task
from services.tenant.people.tasks.repository import TaskRepository
from shared import backlog
from shared.bus import Bus
from shared.clock import SystemClock
from shared.leases import Lease
from shared.measuring import Measure, Measuring, withdraw
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.testing import ManualClock
from shared.topology import Topology
from shared.workers import keep_running
from tests.integration.parts import connected, envelope, happened, held, outgoing
from tests.support.servers import TestDatabase, nats_url
from tests.support.waiting import eventually


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
async def bus(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Bus]:
    async with connected(nats_server, "tenant", nats_topology) as opened:
        yield opened


async def test_every_replica_tells_how_many_events_wait_and_for_how_long(mongo: Mongo, bus: Bus) -> None:
    """Also one that holds no lease and has published nothing: what it once said itself does not stay."""
    clock = ManualClock()
    outbox = Outbox(mongo, "tenant", clock)
    backlog.PENDING.labels("tenant").set(99)
    measuring = Measuring("tenant", backlog.measures("tenant", outbox, bus))
    await mongo.transactions.run(lambda tx: outbox.add(tx, happened(1)))
    clock.advance(timedelta(seconds=90))
    await mongo.transactions.run(lambda tx: outbox.add(tx, happened(2)))
    await measuring.tick()
    assert (told("dezky_outbox_pending", source="tenant"), told("dezky_outbox_oldest_seconds", source="tenant")) == (
        2,
        90,
    )
    await (await held(mongo, bus)).drain()
    await Measuring("tenant", backlog.measures("tenant", outbox, bus)).tick()
    assert (told("dezky_outbox_pending", source="tenant"), told("dezky_outbox_oldest_seconds", source="tenant")) == (
        0,
        0,
    )


async def test_a_service_tells_how_far_its_consumers_are_behind(
    mongo: Mongo, bus: Bus, nats_server: NatsServer, nats_topology: Topology
) -> None:
    await bus.publish([outgoing(nats_topology, envelope(number)) for number in range(3)])
    async with connected(nats_server, "flags", nats_topology) as own:
        puller = own.puller("flags-tenants")
        assert len(await puller.fetch(1, 5)) == 1
        await Measuring("flags", backlog.measures("flags", Outbox(mongo, "flags", SystemClock()), own)).tick()
        await puller.close()
    # What it was given and has not acknowledged is told apart from what still waits; it may have been given more.
    given = told("dezky_consumer_unacknowledged", consumer="flags-tenants")
    waiting = told("dezky_consumer_pending", consumer="flags-tenants")
    assert given is not None
    assert waiting is not None
    assert given >= 1
    assert given + waiting == 3


async def test_what_cannot_be_looked_at_is_not_told_as_it_was(mongo: Mongo, nats_server: NatsServer) -> None:
    away = Bus(nats_url(nats_server, "billing"), "billing", Topology("nowhere"))
    backlog._undelivered.labels("billing-tenants").set(7)
    failed = told("dezky_measurement_failures_total", service="billing", measure="consumers") or 0
    await Measuring("billing", backlog.measures("billing", Outbox(mongo, "billing", SystemClock()), away)).tick()
    assert told("dezky_consumer_pending", consumer="billing-tenants") is None
    assert told("dezky_measurement_failures_total", service="billing", measure="consumers") == failed + 1
    assert told("dezky_outbox_pending", source="billing") == 0  # one that fails does not hold up the others


async def test_a_measure_is_not_taken_more_often_than_it_says() -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    measuring = Measuring("tests", [Measure("dear", look, [], every=3_600)])
    await measuring.tick()
    await measuring.tick()
    assert looks == 1


def test_a_gauge_without_labels_says_nothing_by_nan() -> None:
    gauge = Gauge("dezky_tests_withdrawn", "Of this test", registry=None)
    gauge.set(4)
    withdraw(gauge)
    assert math.isnan(next(iter(gauge.collect())).samples[0].value)


async def test_a_lease_is_told_while_it_is_held(mongo: Mongo) -> None:
    def tells() -> float | None:
        return told("dezky_lease_held", database=mongo.db.name, lease="relay")

    lease = Lease(mongo.db, "relay", "a")
    assert (await lease.acquire(), tells()) == (True, 1)
    await lease.release()
    assert tells() == 0
    await Lease(mongo.db, "provisioning/t-1", "a").acquire()
    assert told("dezky_lease_held", database=mongo.db.name, lease="provisioning/t-1") is None


async def test_the_pool_tells_what_is_open_and_in_use(database: TestDatabase) -> None:
    own = Mongo(database.uri, database.name, "pool-of-this-test")

    def tells(name: str) -> float | None:
        return told(f"dezky_mongo_connections_{name}", client="pool-of-this-test")

    # The server holds an answer back while it waits for an event that does not come.
    stream = await own.db["nothing"].watch(max_await_time_ms=3_000)
    waiting = asyncio.create_task(stream.try_next())

    async def in_use() -> bool:
        return tells("in_use") == 1

    await eventually(in_use)
    assert (tells("limit"), tells("open")) == (50, 1)
    await waiting
    assert tells("in_use") == 0
    await stream.close()
    await own.close()
    assert tells("open") == 0
    assert (told("dezky_mongo_checkout_seconds_count", client="pool-of-this-test") or 0) >= 2


async def test_a_worker_that_fails_is_counted(mongo: Mongo) -> None:
    async def broken() -> None:
        raise RuntimeError("this test's")

    prepared = asyncio.Event()
    prepared.set()
    task = asyncio.create_task(keep_running(broken, prepared, "tests", mongo))
    name = broken.__qualname__
    assert told("dezky_worker_failures_total", service="tests", worker=name) is None

    async def counted() -> bool:
        return told("dezky_worker_failures_total", service="tests", worker=name) == 1

    await eventually(counted)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_people_tasks_and_comparisons_are_told(mongo: Mongo) -> None:
    clock = ManualClock()
    tasks = TaskRepository(mongo, clock)
    for task in (Task("activity", "anna"), Task("activity", "ben"), Task("resend", "carla")):
        await mongo.transactions.run(lambda tx, task=task: tasks.open(task, tx))
    clock.advance(timedelta(seconds=70))
    rows = mongo.db["provisioning"]
    await rows.insert_many([{"_id": str(number), "slug": f"t{number}", "attempts": number} for number in range(3)])
    await rows.update_one({"_id": "1"}, [{"$set": {"next_at": {"$subtract": ["$$NOW", 50_000]}}}])
    await rows.update_one({"_id": "2"}, [{"$set": {"next_at": {"$add": ["$$NOW", 50_000]}}}])
    await Measuring("tenant", of_tenant(mongo, clock)).tick()
    assert (told("dezky_people_tasks_open", kind="activity"), told("dezky_people_tasks_open", kind="invite")) == (2, 0)
    assert told("dezky_people_tasks_oldest_seconds", kind="activity") == 70
    assert told("dezky_people_tasks_oldest_seconds", kind="resend") == 0  # nobody works on it, so it is never late
    assert told("dezky_provisioning_failing_tenants") == 2
    assert 49 <= (told("dezky_provisioning_overdue_seconds") or 0) <= 60


async def test_revenue_is_told_per_currency_and_no_longer_when_nothing_is_live(mongo: Mongo) -> None:
    live = {"live": True, "currency": "EUR", "arr": 120_000, "seats": 10}
    gone = {"live": False, "currency": "EUR", "arr": 7, "seats": 7}
    await mongo.db["subscriptions"].insert_many(
        [
            {"tenant_id": "1", "tenant_slug": "a", **live},
            {"tenant_id": "2", "tenant_slug": "b", **live},
            {"tenant_id": "3", "tenant_slug": "c", **gone},
        ]
    )
    await mongo.db["repricings"].insert_one({"open": True})

    async def look() -> None:
        await Measuring("billing", of_billing(PriceRepository(mongo), SubscriptionRepository(mongo))).tick()

    await look()
    assert told("dezky_billing_subscriptions", currency="EUR") == 2
    assert told("dezky_billing_seats", currency="EUR") == 20
    assert told("dezky_billing_arr_minor_units", currency="EUR") == 240_000
    assert told("dezky_billing_repricings_open") == 1
    await mongo.db["subscriptions"].update_many({}, {"$set": {"live": False}})
    await look()
    assert told("dezky_billing_subscriptions", currency="EUR") is None


async def test_health_tells_what_nats_says_of_consumers_whose_service_is_down(
    mongo: Mongo, bus: Bus, nats_server: NatsServer, nats_topology: Topology
) -> None:
    await bus.publish([outgoing(nats_topology, envelope(number)) for number in range(4)])
    states, now = ProbeRepository(mongo), SystemClock().now()
    await states.save(
        [
            ProbeState("mongo", "warn", now, now, 700),
            ProbeState("redis", "bad", now, now, None, "refused the connection"),
            ProbeState("postgres", "not_deployed", now, now),
        ]
    )
    monitor = f"http://127.0.0.1:{nats_server.monitor_port}"
    async with httpx.AsyncClient() as http:
        await Measuring("health", of_health(states, http, monitor)).tick()
    assert told("dezky_nats_consumer_pending", consumer=nats_topology.durable("audit-chain")) == 4
    assert told("dezky_stream_messages", stream=nats_topology.stream_events) == 4
    assert told("dezky_stream_limit_bytes", stream=nats_topology.stream_events) == 8 * 1024**3
    assert (told("dezky_probe_ok", probe="mongo"), told("dezky_probe_ok", probe="redis")) == (1, 0)
    assert (told("dezky_probe_ok", probe="postgres"), told("dezky_probe_seconds", probe="mongo")) == (None, 0.7)
