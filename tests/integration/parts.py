"""What the tests of the delivery chain are put together from: an event, a reader of streams, parts of a service."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import nats
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from infrastructure.local.servers.nats import NatsServer
from shared.bus import Bus, Outgoing
from shared.clock import SystemClock
from shared.contracts import Actor, Event, Resource
from shared.ids import new_id
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox, OutboxRelay
from shared.topology import Topology
from tests.support.servers import nats_url

CLOCK = SystemClock()


class Happened(Event):
    """An event of the tenant service that only tests know."""

    type: ClassVar[str] = "tenant.happened.v1"
    number: int


def happened(number: int, aggregate: str = "acme", version: int | None = None) -> Happened:
    return Happened(
        actor=Actor(type="system", id="tests"),
        resource=Resource(type="tenant", id=aggregate),
        version=version,
        number=number,
    )


async def commit(mongo: Mongo, *events: Event) -> None:
    """Put events into the tenant service's outbox in one transaction."""
    outbox = Outbox(mongo, "tenant", CLOCK)
    await mongo.transactions.run(lambda tx: outbox.add(tx, *events))


def relay_of(mongo: Mongo, bus: Bus, holder: str = "tests") -> OutboxRelay:
    return OutboxRelay(mongo, bus, "tenant", CLOCK, Lease(mongo.db, "outbox-relay", holder))


async def held(mongo: Mongo, bus: Bus, holder: str = "tests") -> OutboxRelay:
    """A relay that holds its lease, to be drained step by step."""
    lease = Lease(mongo.db, "outbox-relay", holder)
    assert await lease.acquire()
    return OutboxRelay(mongo, bus, "tenant", CLOCK, lease)


@asynccontextmanager
async def connected(server: NatsServer, process: str, topology: Topology) -> AsyncIterator[Bus]:
    bus = Bus(nats_url(server, process), process, topology)
    bus.start()
    await bus.wait_connected()
    yield bus
    await bus.close()


class Streams:
    """Both streams as the administrator sees them."""

    def __init__(self, js: JetStreamContext, topology: Topology) -> None:
        self.js = js
        self.topology = topology

    async def events(self) -> list[dict[str, Any]]:
        return [json.loads(m) for m, _ in await self._all(self.topology.stream_events)]

    async def numbers(self) -> list[int]:
        return [event["data"]["number"] for event in await self.events()]

    async def dead(self) -> list[tuple[bytes, dict[str, str]]]:
        return await self._all(self.topology.stream_dead)

    async def unacknowledged(self, consumer: str = "audit-chain") -> int:
        """Events that ``consumer`` has not yet acknowledged."""
        about = await self.js.consumer_info(self.topology.stream_events, self.topology.durable(consumer))
        return int(about.num_pending or 0) + int(about.num_ack_pending or 0)

    async def _all(self, stream: str) -> list[tuple[bytes, dict[str, str]]]:
        state = (await self.js.stream_info(stream)).state
        if not state.messages:
            return []
        found = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                message = await self.js.get_msg(stream, sequence)
            except NotFoundError:
                continue
            found.append((message.data or b"", dict(message.headers or {})))
        return found


@asynccontextmanager
async def administrator(server: NatsServer, topology: Topology) -> AsyncIterator[Streams]:
    admin = await nats.connect(nats_url(server, "admin"))
    yield Streams(admin.jetstream(), topology)
    await admin.close()


def envelope(number: int, **changes: Any) -> dict[str, Any]:
    """An event as it stands in the stream, written by hand from CloudEvents 1.0.2."""
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": "tenant",
        "type": "tenant.happened.v1",
        "subject": "tenants/acme",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "sourceseq": number,
        "data": {"number": number},
        **changes,
    }


def outgoing(topology: Topology, event: dict[str, Any]) -> Outgoing:
    """A message under an id of its own, so that the stream takes the same event twice."""
    return Outgoing(topology.subject(event["type"]), new_id(), json.dumps(event).encode())


def collect_half_open_sockets() -> None:
    """Let go of sockets here and now, without a warning in the middle of a later test.

    The MongoDB driver leaves a socket to the garbage collector when its connecting is cancelled.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def hasten(streams: Streams) -> None:
    """Let what was pulled and never acknowledged come again after a second instead of after thirty."""
    for body in streams.topology.consumer_configs():
        config = {**body["config"], "ack_wait": 1_000_000_000}
        subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{body['stream_name']}.{config['durable_name']}"
        reply = await streams.js._nc.request(subject, json.dumps({**body, "config": config}).encode())
        assert b'"error"' not in reply.data
