"""Changes of one tenant at the same time: none is lost, none is applied to what it did not see."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import orjson
import pytest

from shared.bus import Bus
from shared.topology import Topology
from tests.support.servers import nats_url
from tests.tenant.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHANGERS = 50
ROUNDS = 4


async def published(nats_server: Any, nats_topology: Topology, subject: str, last: int) -> list[dict[str, Any]]:
    """Return the events about something as the stream holds them, up to its version ``last``."""
    bus = Bus(nats_url(nats_server, "audit"), "audit", nats_topology)
    bus.start()
    puller = bus.puller("audit-chain")
    events: list[dict[str, Any]] = []
    try:
        while not events or events[-1]["data"]["version"] < last:
            deliveries = await puller.fetch(500, 5)
            assert deliveries, f"the relay stopped after {len(events)}"
            heard = [orjson.loads(delivery.data) for delivery in deliveries]
            events += [event for event in heard if event["subject"] == subject]
    finally:
        await puller.close()
        await bus.close()
    return events


async def test_of_fifty_changes_with_if_match_those_that_saw_the_tenant_are_applied(
    desk: Desk, nats_server: Any
) -> None:
    slug = await desk.put()
    winners: dict[int, str] = {}

    async def change(name: str, version: int) -> int:
        answer = await desk.call("PATCH", f"/api/tenants/{slug}", {"name": name}, if_match=f'"{version}"')
        if answer.status_code == 200:
            assert answer.json()["version"] not in winners, "two changes made one version"
            winners[answer.json()["version"]] = name
        else:
            assert (answer.status_code, answer.json()["code"]) == (412, "stale_version")
        return answer.status_code

    version = 7
    for turn in range(ROUNDS):
        statuses = await asyncio.gather(*(change(f"Round {turn} by {n}", version) for n in range(CHANGERS)))
        assert sorted(statuses) == [200] + [412] * (CHANGERS - 1)
        version += 1
    assert sorted(winners) == list(range(8, 8 + ROUNDS))
    stored = await desk.stored(slug)
    assert (stored["version"], stored["name"]) == (version, winners[version])
    applied = [(v, winners[v]) for v in sorted(winners)]
    told = await desk.told(f"tenants/{slug}")
    assert [(event["data"]["version"], event["data"]["state"]["name"]) for event in told] == applied
    heard = await published(nats_server, desk.topology, f"tenants/{slug}", version)
    assert [(event["data"]["version"], event["data"]["state"]["name"]) for event in heard] == applied


async def test_of_fifty_changes_without_if_match_every_one_is_applied(desk: Desk, nats_server: Any) -> None:
    """Half of them change one thing, half another: neither writes over what the other has changed."""
    slug = await desk.put(seats=1_000)
    bodies = [{"seats": 1_001 + n} if n % 2 else {"billing": {"company": f"Company {n}"}} for n in range(CHANGERS)]
    answers = await asyncio.gather(*(desk.call("PATCH", f"/api/tenants/{slug}", body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * CHANGERS
    assert sorted(answer.json()["version"] for answer in answers) == list(range(8, 8 + CHANGERS))
    last = 7 + CHANGERS
    heard = await published(nats_server, desk.topology, f"tenants/{slug}", last)
    assert [event["data"]["version"] for event in heard] == list(range(8, last + 1))
    for earlier, later in itertools.pairwise(heard):
        before, after = earlier["data"]["state"], later["data"]["state"]
        changed = {name for name in ("seats", "billing") if before[name] != after[name]}
        assert changed == set(later["data"]["changes"]), "what is told is what happened to the version before"
    told = {orjson.dumps(event["data"]["changes"]) for event in heard}
    assert len(told) == CHANGERS
