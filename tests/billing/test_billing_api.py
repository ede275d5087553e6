"""Catalog, subscriptions and revenue over HTTP and JetStream, against a real MongoDB and a real NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from services.billing.main import build
from services.billing.settings import BillingSettings
from shared.bus import Bus, Outgoing
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person, tenant_person
from shared.topology import Topology
from tests.support.servers import LiveServer, nats_url
from tests.support.waiting import eventually

CALLERS = Callers("billing")


def by_operator() -> dict[str, str]:
    """Made for each request: an internal token is good for 60 seconds."""
    return CALLERS.headers(operator())


@dataclass
class World:
    """The service behind HTTP, and the tenant service's end of the stream."""

    http: httpx.AsyncClient
    bus: Bus
    mongo: Mongo

    async def price(self, plan: str = "business", cycle: str = "month", **amounts: int) -> dict[str, Any]:
        body = {"plan": plan, "cycle": cycle, "amounts": amounts or {"EUR": 1000}}
        answer = await self.http.post("/api/prices", json=body, headers=by_operator())
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def tenant(self, slug: str, version: int, **state: Any) -> None:
        event = tenant_event(slug, version, **state)
        subject = self.bus.topology.subject(event["type"])
        await self.bus.publish([Outgoing(subject, event["id"], orjson.dumps(event))])

    async def subscription(self, slug: str, **expected: Any) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            answer = await self.http.get(f"/api/tenants/{slug}/billing/summary", headers=by_operator())
            if answer.status_code != 200:
                return None
            subscription = answer.json()["subscription"]
            assert {name: subscription[name] for name in expected} == expected
            return subscription

        return await eventually(found)  # type: ignore[return-value]

    async def revenue_equals_movements(self) -> dict[str, int]:
        pipeline = [
            {"$match": {"status": {"$ne": "canceled"}}},
            {"$group": {"_id": "$currency", "arr": {"$sum": "$arr"}}},
        ]
        live = {r["_id"]: r["arr"] async for r in await self.mongo.db["subscriptions"].aggregate(pipeline)}
        moved_by = [{"$group": {"_id": "$currency", "delta": {"$sum": "$delta"}}}]
        moved = {r["_id"]: r["delta"] async for r in await self.mongo.db["movements"].aggregate(moved_by)}
        assert {c: v for c, v in live.items() if v} == {c: v for c, v in moved.items() if v}
        return live


@pytest.fixture
async def world(
    service_environment: Any, mongo: Mongo, nats_server: Any, nats_topology: Topology
) -> AsyncIterator[World]:
    settings = BillingSettings(**service_environment("billing"))
    bus = Bus(nats_url(nats_server, "tenant"), "tenant", nats_topology)
    bus.start()
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http,
    ):

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
        await bus.wait_connected()
        yield World(http, bus, mongo)
    await bus.close()


def tenant_event(slug: str, version: int, **state: Any) -> dict[str, Any]:
    full = {
        "id": f"id-of-{slug}",
        "slug": slug,
        "name": slug.title(),
        "plan": "business",
        "cycle": "month",
        "currency": "EUR",
        "seats": 25,
        "domains": [],
        "billing": {},
        "partner": "nordic",
        "status": "active",
        "createdAt": "2026-11-22T12:00:00.000Z",
        "updatedAt": "2026-11-22T12:00:00.000Z",
        "version": version,
        **state,
    }
    kind = "tenant.created.v1" if version == 1 else "tenant.updated.v1"
    data = {
        "actor": {"type": "user", "id": "u-1"},
        "action": kind.removesuffix(".v1"),
        "resource": {"type": "tenant", "id": slug},
        "state": full,
        "changes": {},
        "version": version,
    }
    return {
        "specversion": "1.0",
        "id": f"e-{slug}-{version}",
        "source": "tenant",
        "type": kind,
        "subject": f"tenants/{slug}",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "sourceseq": version,
        "data": data,
    }


async def test_a_created_tenant_gets_a_subscription_with_a_snapshot(world: World) -> None:
    await world.price()
    await world.tenant("acme", 1)
    found = await world.subscription("acme")
    # 25 seats at 10.00 a month
    assert (found["perSeat"], found["mrr"], found["arr"], found["status"]) == (1000, 25_000, 300_000, "active")
    assert (found["partner"], found["finding"]) == ("nordic", None)
    assert await world.mongo.db["outbox"].count_documents({"type": "subscription.started.v1"}) == 1


async def test_seats_plan_suspension_and_end_are_followed_with_a_movement_each(world: World) -> None:
    await world.price()
    await world.price("starter", "year", EUR=10_000)
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"mrr": 25_000}),
        ({"seats": 30}, {"mrr": 30_000}),
        ({"seats": 20}, {"mrr": 20_000}),
        ({"seats": 20, "status": "suspended"}, {"mrr": 20_000, "status": "paused"}),
        ({"seats": 20}, {"mrr": 20_000, "status": "active"}),
        # 20 seats at 100.00 a year are 2,000.00 a year: 166.67 a month
        ({"seats": 20, "plan": "starter", "cycle": "year"}, {"arr": 200_000, "mrr": 16_667}),
        ({"seats": 20, "plan": "starter", "cycle": "year", "status": "deleting"}, {"mrr": 0, "status": "canceled"}),
        ({"seats": 20, "plan": "starter", "cycle": "year"}, {"arr": 200_000, "status": "active"}),
    ]
    for version, (state, expected) in enumerate(steps, start=1):
        await world.tenant("acme", version, **state)
        await world.subscription("acme", **expected)
    await world.revenue_equals_movements()
    movements = [row async for row in world.mongo.db["movements"].find().sort("_id")]
    assert [row["kind"] for row in movements] == [
        "new",
        "expansion",
        "contraction",
        "contraction",
        "churn",
        "reactivation",
    ]
    assert [row["caused_by"] for row in movements] == [f"e-acme-{version}" for version in (1, 2, 3, 6, 7, 8)]
    types = [row["type"] async for row in world.mongo.db["outbox"].find({"type": {"$regex": "^subscription"}})]
    assert sorted(set(types)) == [
        "subscription.canceled.v1",
        "subscription.paused.v1",
        "subscription.resumed.v1",
        "subscription.started.v1",
        "subscription.updated.v1",
    ]


async def test_an_older_version_that_comes_late_changes_nothing(world: World) -> None:
    await world.price()
    await world.tenant("acme", 3, seats=40)
    await world.subscription("acme", seats=40)
    await world.tenant("acme", 2, seats=10)
    await world.tenant("globex", 1)
    await world.subscription("globex")
    await world.subscription("acme", seats=40)
    await world.revenue_equals_movements()


async def test_a_tenant_without_a_price_is_a_visible_finding(world: World) -> None:
    await world.tenant("acme", 1)
    found = await world.subscription("acme")
    assert (found["perSeat"], found["mrr"], found["finding"]) == (None, 0, "no_price")


async def test_a_changed_price_moves_the_live_subscriptions_and_only_those(world: World) -> None:
    price = await world.price(EUR=1000, NOK=11_000)
    await world.tenant("acme", 1)
    await world.tenant("bergen", 1, currency="NOK")
    await world.tenant("gone", 1)
    await world.tenant("gone", 2, status="deleted")
    await world.subscription("gone", status="canceled")
    await world.subscription("bergen")
    path = f"/api/prices/{price['id']}"
    impact = await world.http.get(f"{path}/impact", params={"currency": "EUR", "amount": 1500}, headers=by_operator())
    assert impact.json() == {
        "currency": "EUR",
        "amount": 1500,
        "subscriptions": 1,
        "tenants": 1,
        "partners": 1,
        "mrrBefore": 25_000,
        "mrrAfter": 37_500,
    }
    changed = await world.http.patch(path, json={"amounts": {"EUR": 1500}}, headers=by_operator())
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    await world.subscription("acme", perSeat=1500, mrr=37_500)
    await world.subscription("bergen", perSeat=11_000)
    await world.subscription("gone", perSeat=1000, mrr=0)
    await world.revenue_equals_movements()
    moved = await world.mongo.db["movements"].find_one({"kind": "expansion"})
    cause = await world.mongo.db["outbox"].find_one({"type": "price.changed.v1"})
    assert moved is not None
    assert cause is not None
    assert moved["caused_by"] == cause["_id"]


async def test_revenue_is_shown_per_platform_partner_and_tenant(world: World) -> None:
    await world.price()
    await world.tenant("acme", 1)
    await world.tenant("globex", 1, partner="fjord", seats=10)
    await world.subscription("acme")
    await world.subscription("globex")
    platform = (await world.http.get("/api/billing/summary", headers=by_operator())).json()
    assert platform["groupedBy"] == "partner"
    (euro,) = platform["currencies"]
    assert (euro["mrr"], euro["seats"]) == (35_000, 35)
    assert [(part["key"], part["mrr"]) for part in euro["parts"]] == [("fjord", 10_000), ("nordic", 25_000)]
    nordic = CALLERS.headers(partner_person("nordic"))
    own = (await world.http.get("/api/partners/nordic/billing/summary", headers=nordic)).json()
    assert own["currencies"][0]["mrr"] == 25_000
    assert (await world.http.get("/api/billing/summary", headers=nordic)).json()["currencies"][0]["mrr"] == 25_000


@pytest.mark.parametrize(
    ("caller", "path", "status"),
    [
        (partner_person("fjord"), "/api/tenants/acme/billing/summary", 404),
        (partner_person("nordic"), "/api/tenants/acme/billing/summary", 200),
        (tenant_person("acme", "admin"), "/api/tenants/acme/billing/summary", 200),
        (tenant_person("acme", "member"), "/api/tenants/acme/billing/summary", 403),
        (tenant_person("other", "admin"), "/api/tenants/acme/billing/summary", 404),
        (tenant_person("acme", "member"), "/api/billing/summary", 403),
        (partner_person("fjord"), "/api/partners/nordic/billing/summary", 404),
        (tenant_person("acme", "admin"), "/api/partners/nordic/billing/summary", 404),
        (partner_person("nordic"), "/api/prices", 200),
        (tenant_person("acme", "admin"), "/api/prices", 403),
    ],
)
async def test_who_sees_what_money(world: World, caller: Any, path: str, status: int) -> None:
    await world.price()
    await world.tenant("acme", 1)
    await world.subscription("acme")
    assert (await world.http.get(path, headers=CALLERS.headers(caller))).status_code == status


async def test_partners_read_the_catalog_and_do_not_write_it(world: World) -> None:
    price = await world.price()
    staff = CALLERS.headers(partner_person("nordic", "owner"))
    for method, path, body in (
        ("POST", "/api/prices", {"plan": "x1", "cycle": "month", "amounts": {"EUR": 1}}),
        ("PATCH", f"/api/prices/{price['id']}", {"amounts": {"EUR": 1}}),
        ("POST", f"/api/prices/{price['id']}/archive", None),
    ):
        refused = await world.http.request(method, path, json=body, headers=staff)
        assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")


async def test_a_plan_and_cycle_have_one_price_until_it_is_archived(world: World) -> None:
    price = await world.price()
    again = await world.http.post(
        "/api/prices", json={"plan": "business", "cycle": "month", "amounts": {"EUR": 1}}, headers=by_operator()
    )
    assert (again.status_code, again.json()["code"]) == (409, "price_exists")
    await world.tenant("acme", 1)
    await world.subscription("acme")
    await world.http.post(f"/api/prices/{price['id']}/archive", headers=by_operator())
    frozen = await world.http.patch(f"/api/prices/{price['id']}", json={"amounts": {"EUR": 2}}, headers=by_operator())
    assert (frozen.status_code, frozen.json()["code"]) == (409, "price_archived")
    await world.price(EUR=2000)
    await world.tenant("acme", 2, seats=26)
    await world.subscription("acme", perSeat=1000, mrr=26_000)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"plan": "business", "cycle": "month", "amounts": {"euro": 1}}, "amounts.euro.[key]"),
        ({"plan": "business", "cycle": "month", "amounts": {"EUR": -1}}, "amounts.EUR"),
        ({"plan": "business", "cycle": "month", "amounts": {"EUR": 10.5}}, "amounts.EUR"),
        ({"plan": "business", "cycle": "month", "amounts": {}}, "amounts"),
        ({"plan": "Business!", "cycle": "month", "amounts": {"EUR": 1}}, "plan"),
        ({"plan": "business", "cycle": "week", "amounts": {"EUR": 1}}, "cycle"),
        ({"plan": "business", "cycle": "month", "amounts": {"EUR": 1}, "x": 1}, "x"),
    ],
)
async def test_bad_input_names_the_field(world: World, body: dict[str, Any], field: str) -> None:
    refused = await world.http.post("/api/prices", json=body, headers=by_operator())
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert await world.mongo.db["prices"].count_documents({}) == 0
