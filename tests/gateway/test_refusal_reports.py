"""Refusals of unknown callers become one event per address, route and code, whatever their number."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.refusal_reports import RefusalReports
from gateway.refusals import Refusals
from infrastructure.local.servers.nats import NatsServer
from shared.bus import Bus, BusUnavailable
from shared.contracts import contract_for
from shared.testing import ManualClock
from shared.topology import Topology
from tests.support.servers import nats_url


@pytest.fixture
async def bus(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Bus]:
    connected = Bus(nats_url(nats_server, "gateway"), "gateway", nats_topology)
    connected.start()
    await connected.wait_connected()
    yield connected
    await connected.close()


async def stored(nats_server: NatsServer, topology: Topology, most: int) -> list[dict[str, Any]]:
    reader = Bus(nats_url(nats_server, "audit"), "audit", topology)
    reader.start()
    puller = reader.puller("audit-chain")
    found = [orjson.loads(delivery.data) for delivery in await puller.fetch(most, 3)]
    await puller.close()
    await reader.close()
    return found


async def test_a_scan_of_a_thousand_requests_is_one_event(
    bus: Bus, nats_server: NatsServer, nats_topology: Topology
) -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    for _ in range(1_000):
        refusals.add("203.0.113.7", "/api/tenants", "invalid_token")
    await RefusalReports(bus, refusals).report()
    (event,) = await stored(nats_server, nats_topology, 10)
    contract = contract_for(event["type"])
    assert contract is not None
    contract.model_validate(event["data"])
    assert (event["type"], event["source"]) == ("gateway.requests_refused.v1", "gateway")
    assert event["data"]["actor"] == {
        "type": "external",
        "id": "unknown",
        "email": None,
        "ip": "203.0.113.7",
        "surface": None,
    }
    told = event["data"]
    assert (told["count"], told["route"], told["code"]) == (1_000, "/api/tenants", "invalid_token")
    assert told["outcome"] == "denied"


async def test_each_address_route_and_code_has_its_own_event_and_is_told_once(
    bus: Bus, nats_server: NatsServer, nats_topology: Topology
) -> None:
    refusals = Refusals(ManualClock())
    told = [("a", "/x", "1"), ("b", "/x", "1"), ("a", "/y", "1"), ("a", "/x", "2")]
    for address, route, code in told:
        refusals.add(address, route, code)
    reports = RefusalReports(bus, refusals)
    await reports.report()
    await reports.report()
    assert len(await stored(nats_server, nats_topology, 10)) == len(told)


async def test_what_nats_did_not_take_is_kept_and_told_when_it_is_back(
    nats_server: NatsServer, nats_topology: Topology
) -> None:
    refusals = Refusals(ManualClock())
    refusals.add("203.0.113.7", "/api/tenants", "invalid_token")
    later = Bus(nats_url(nats_server, "gateway"), "gateway", nats_topology)
    reports = RefusalReports(later, refusals)
    with pytest.raises(BusUnavailable):
        await reports.report()
    later.start()
    await later.wait_connected()
    await reports.report()
    await later.close()
    assert len(await stored(nats_server, nats_topology, 10)) == 1
