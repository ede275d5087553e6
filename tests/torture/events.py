"""Whether everything that happened was told: once, in order, without a gap."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import nats

from infrastructure.local.servers.nats import NatsServer
from shared.mongo import Mongo
from shared.topology import Topology
from tests.support.servers import nats_url
from tests.torture.lives import Expected

_TENANT = "tenants/"


@dataclass(frozen=True)
class Told:
    """What the stream holds; ``wrong`` is empty if it is as it should be."""

    count: int
    wrong: list[str]


async def told(mongo: Mongo, server: NatsServer, topology: Topology, tenants: list[Expected]) -> Told:
    """Compare the stream with the outbox, and the versions of each tenant with its own."""
    events = await _stream(server, topology)
    ids = [event["id"] for event in events]
    committed = {row["_id"]: row async for row in mongo.db["outbox"].find({}, {"pending": 1})}
    wrong = [f"{identity} is in the stream {n} times" for identity, n in Counter(ids).items() if n > 1]
    wrong += [f"{identity} was never committed" for identity in set(ids) - committed.keys()]
    wrong += [f"{identity} is not in the stream" for identity in committed.keys() - set(ids)]
    wrong += [f"{identity} is still pending" for identity, row in committed.items() if row.get("pending")]
    numbers = [event["sourceseq"] for event in events]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"the source's numbers are no row from 1 to {len(numbers)}")
    versions: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event["subject"].startswith(_TENANT) and event["data"].get("version") is not None:
            versions[event["subject"].removeprefix(_TENANT)].append(event["data"]["version"])
    for tenant in tenants:
        row = await mongo.db["tenants"].find_one({"slug": tenant.slug}, {"version": 1})
        assert row is not None
        if versions[tenant.slug] != list(range(1, row["version"] + 1)):
            wrong.append(f"{tenant.slug} was told of as {versions[tenant.slug]}, and is {row['version']}")
    return Told(len(events), wrong)


async def _stream(server: NatsServer, topology: Topology) -> list[dict[str, Any]]:
    """Return all events in the order of the stream."""
    admin = await nats.connect(nats_url(server, "admin"))
    js = admin.jetstream()
    expected = (await js.stream_info(topology.stream_events)).state.messages
    reader = await js.subscribe(topology.subject(">"), ordered_consumer=True)
    events = [json.loads((await reader.next_msg(timeout=10)).data) for _ in range(expected)]
    await admin.close()
    return events
