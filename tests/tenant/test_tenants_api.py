"""Tenants over HTTP, against a real MongoDB and a real NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from services.tenant.main import build
from services.tenant.settings import TenantSettings
from shared.bus import Bus, Outgoing
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person, tenant_person
from shared.topology import Topology
from tests.support.servers import LiveServer, nats_url
from tests.support.waiting import eventually

CALLERS = Callers("tenant")
ACME = {"slug": "acme", "name": "Acme Ltd", "plan": "business", "seats": 25, "domains": [{"name": "acme.example"}]}


@pytest.fixture
async def client(service_environment: Any, mongo: Mongo) -> AsyncIterator[httpx.AsyncClient]:
    settings = TenantSettings(**service_environment("tenant"))
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http,
    ):
        await eventually(lambda: _ready(http))
        for slug in ("nordic", "fjord"):
            await mongo.db["partners"].insert_one({"_id": slug, "slug": slug, "status": "active", "version": 1})
        for plan, cycle in (("business", "month"), ("starter", "month"), ("enterprise", "year")):
            sold = {"plan": plan, "cycle": cycle, "currencies": ["EUR"], "archived": False, "version": 1}
            await mongo.db["prices"].insert_one({"_id": f"{plan}-{cycle}", **sold})
        yield http


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def test_a_partner_creates_a_tenant_and_reads_it_back(client: httpx.AsyncClient) -> None:
    staff = CALLERS.headers(partner_person("nordic"))
    created = await client.post("/api/tenants", json=ACME, headers=staff)
    assert created.status_code == 201, created.text
    assert created.headers["etag"] == '"1"'
    assert created.headers["location"] == "/api/tenants/acme"
    body = created.json()
    assert (body["partner"], body["seats"], body["domains"]) == (
        "nordic",
        25,
        [{"name": "acme.example", "primary": True}],
    )
    assert (await client.get("/api/tenants/acme", headers=staff)).json() == body
    listed = (await client.get("/api/tenants", headers=CALLERS.headers(operator()))).json()
    assert [item["slug"] for item in listed["items"]] == ["acme"]


async def test_another_partners_tenant_does_not_exist(client: httpx.AsyncClient) -> None:
    await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person("nordic")))
    other = CALLERS.headers(partner_person("fjord"))
    missing = await client.get("/api/tenants/nothing", headers=other)
    foreign = await client.get("/api/tenants/acme", headers=other)
    assert foreign.status_code == missing.status_code == 404
    assert {**foreign.json(), "requestId": ""} == {**missing.json(), "requestId": ""}
    assert (await client.get("/api/tenants", headers=other)).json()["items"] == []


async def test_the_same_key_creates_once_and_another_body_under_it_is_refused(client: httpx.AsyncClient) -> None:
    staff = CALLERS.headers(partner_person("nordic"), idempotency_key="k-1")
    first = await client.post("/api/tenants", json=ACME, headers=staff)
    again = await client.post("/api/tenants", json=ACME, headers=staff)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = await client.post("/api/tenants", json={**ACME, "name": "Other"}, headers=staff)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_suspending_twice_is_a_no_op_and_a_stale_version_is_refused(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person("nordic")))
    by_operator = CALLERS.headers(operator())
    suspended = await client.post("/api/tenants/acme/suspend", json={"reason": "unpaid"}, headers=by_operator)
    assert (suspended.status_code, suspended.json()["status"], suspended.headers["etag"]) == (200, "suspended", '"2"')
    again = await client.post("/api/tenants/acme/suspend", json={"reason": "unpaid"}, headers=by_operator)
    assert again.headers["etag"] == '"2"'
    stale = await client.post("/api/tenants/acme/resume", headers={**by_operator, "if-match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert await mongo.db["outbox"].count_documents({"type": "tenant.suspended.v1"}) == 1


async def test_a_portal_token_on_suspend_is_told_to_use_the_operator_surface(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    staff = CALLERS.headers(partner_person("nordic"))
    await client.post("/api/tenants", json=ACME, headers=staff)
    refused = await client.post("/api/tenants/acme/suspend", json={"reason": "unpaid"}, headers=staff)
    assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")
    denied = await mongo.db["outbox"].find_one({"type": "tenant.access_denied.v1"})
    assert denied is not None
    assert denied["envelope"]["data"]["outcome"] == "denied"
    assert denied["envelope"]["data"]["operation"] == "POST /api/tenants/{slug}/suspend"


async def test_operators_do_not_create_tenants(client: httpx.AsyncClient) -> None:
    refused = await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(operator()))
    assert (refused.status_code, refused.json()["code"]) == (403, "partner_token_required")


async def test_a_member_sees_three_facts_and_nothing_once_suspended(client: httpx.AsyncClient) -> None:
    await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person("nordic")))
    member = CALLERS.headers(tenant_person("acme", "member"))
    seen = (await client.get("/api/tenants/acme", headers=member)).json()
    assert seen == {"slug": "acme", "name": "Acme Ltd", "plan": "business", "status": "active"}
    await client.post("/api/tenants/acme/suspend", json={"reason": "unpaid"}, headers=CALLERS.headers(operator()))
    refused = await client.get("/api/tenants/acme", headers=member)
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "a"}, "slug"),
        ({"slug": "Acme"}, "slug"),
        ({"slug": "admin"}, "slug"),
        ({"slug": "-acme"}, "slug"),
        ({"slug": "\u0430cme"}, "slug"),  # a Cyrillic letter that looks like a
        ({"seats": 0}, "seats"),
        ({"seats": "25"}, "seats"),
        ({"seats": 10**9}, "seats"),
        ({"name": "a\x00b"}, "name"),
        ({"name": {"$gt": ""}}, "name"),
        ({"partner": "fjord"}, "partner"),
        ({"domains": [{"name": "acme.example."}]}, "domains.0.name"),
        ({"domains": [{"name": "localhost"}]}, "domains.0.name"),
        ({"domains": [{"name": "a.example"}, {"name": "a.example"}]}, "domains"),
        ({"billing": {"contact": "x\n@acme.example"}}, "billing.contact"),
        ({"currency": "euro"}, "currency"),
    ],
)
async def test_bad_input_names_the_field_and_changes_nothing(
    client: httpx.AsyncClient, mongo: Mongo, change: dict[str, Any], field: str
) -> None:
    staff = CALLERS.headers(partner_person("nordic"))
    refused = await client.post("/api/tenants", json={**ACME, **change}, headers=staff)
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert await mongo.db["tenants"].count_documents({}) == 0
    assert await mongo.db["outbox"].count_documents({}) == 0


async def test_a_created_tenant_reaches_the_stream_once_with_a_gapless_number(
    client: httpx.AsyncClient, nats_server: Any, nats_topology: Topology
) -> None:
    for number in range(3):
        body = {"slug": f"acme-{number}", "name": "Acme", "plan": "business", "seats": 1}
        await client.post("/api/tenants", json=body, headers=CALLERS.headers(partner_person("nordic")))
    bus = Bus(nats_url(nats_server, "audit"), "audit", nats_topology)
    bus.start()
    puller = bus.puller("audit-chain")
    events: list[Any] = []
    while len(events) < 3:
        deliveries = await puller.fetch(10, 5)
        assert deliveries
        events += [orjson.loads(delivery.data) for delivery in deliveries]
    assert [event["sourceseq"] for event in events] == [1, 2, 3]
    assert {event["type"] for event in events} == {"tenant.created.v1"}
    assert [event["subject"] for event in events] == [f"tenants/acme-{n}" for n in range(3)]
    await puller.close()
    await bus.close()


async def test_a_partner_that_is_not_active_or_unknown_creates_nothing(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await mongo.db["partners"].update_one({"_id": "fjord"}, {"$set": {"status": "terminating"}})
    for slug in ("fjord", "unheard-of"):
        refused = await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person(slug)))
        assert (refused.status_code, refused.json()["code"]) == (409, "partner_not_active")
    assert await mongo.db["tenants"].count_documents({}) == 0


async def test_a_partner_known_from_its_event_creates_tenants(
    client: httpx.AsyncClient, nats_server: Any, nats_topology: Topology
) -> None:
    bus = Bus(nats_url(nats_server, "partner"), "partner", nats_topology)
    bus.start()
    await bus.wait_connected()
    for version, status in ((2, "active"), (1, "terminated")):
        event = partner_event("glacier", version, status)
        await bus.publish([Outgoing(nats_topology.subject(event["type"]), event["id"], orjson.dumps(event))])
    await bus.close()

    async def created() -> bool:
        body = {"slug": "ice", "name": "Ice", "plan": "business", "seats": 1}
        answer = await client.post("/api/tenants", json=body, headers=CALLERS.headers(partner_person("glacier")))
        return answer.status_code == 201

    assert await eventually(created)


def partner_event(slug: str, version: int, status: str) -> dict[str, Any]:
    state = {
        "id": "p-1",
        "slug": slug,
        "name": slug.title(),
        "domain": None,
        "contact": {},
        "contract": {"startsOn": "2026-01-01", "termMonths": 12, "margins": []},
        "status": status,
        "createdAt": "2026-11-22T12:00:00.000Z",
        "updatedAt": "2026-11-22T12:00:00.000Z",
        "version": version,
    }
    actor = {"type": "user", "id": "u-1"}
    data = {
        "actor": actor,
        "action": "partner.created",
        "resource": {"type": "partner", "id": slug},
        "state": state,
        "changes": {},
        "version": version,
    }
    return {
        "specversion": "1.0",
        "id": f"e-{slug}-{version}",
        "source": "partner",
        "type": "partner.created.v1",
        "subject": f"partners/{slug}",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "sourceseq": version,
        "data": data,
    }


async def test_each_role_changes_what_the_table_allows(client: httpx.AsyncClient) -> None:
    await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person("nordic")))
    admin, member = tenant_person("acme", "admin"), tenant_person("acme", "member")
    for caller, change, status in (
        (operator(), {"name": "Acme A/S"}, 200),
        (partner_person("nordic"), {"plan": "enterprise", "cycle": "year"}, 200),
        (admin, {"seats": 30, "billing": {"contact": "bills@acme.example"}}, 200),
        (admin, {"plan": "starter"}, 403),
        (member, {"seats": 31}, 403),
        (partner_person("fjord"), {"name": "Mine"}, 404),
    ):
        answer = await client.patch("/api/tenants/acme", json=change, headers=CALLERS.headers(caller))
        assert answer.status_code == status, (change, answer.text)
    tenant = (await client.get("/api/tenants/acme", headers=CALLERS.headers(operator()))).json()
    assert (tenant["name"], tenant["plan"], tenant["seats"], tenant["version"]) == ("Acme A/S", "enterprise", 30, 4)


async def test_the_same_values_again_are_no_change_and_null_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/api/tenants", json=ACME, headers=CALLERS.headers(partner_person("nordic")))
    by_operator = CALLERS.headers(operator())
    same = await client.patch("/api/tenants/acme", json={"name": "Acme Ltd"}, headers=by_operator)
    assert same.headers["etag"] == '"1"'
    null = await client.patch("/api/tenants/acme", json={"name": None}, headers=by_operator)
    assert (null.status_code, null.json()["errors"][0]["field"]) == (422, "name")


@pytest.mark.parametrize(
    "choice", [{"plan": "unheard-of"}, {"plan": "business", "cycle": "year"}, {"plan": "business", "currency": "NOK"}]
)
async def test_what_the_catalog_does_not_sell_is_refused(
    client: httpx.AsyncClient, mongo: Mongo, choice: dict[str, str]
) -> None:
    staff = CALLERS.headers(partner_person("nordic"))
    refused = await client.post("/api/tenants", json={**ACME, **choice}, headers=staff)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_price_for_plan")
    assert refused.json()["errors"][0]["field"] == "plan"
    assert await mongo.db["tenants"].count_documents({}) == 0
