"""The projection of customers, fed through JetStream as the tenant service feeds it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from shared.bus import Bus, Outgoing
from shared.contracts.tenant import TenantCreated
from shared.mongo import Mongo
from shared.testing import partner_person
from shared.topology import Topology
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create
from tests.partner.hearing import subscription
from tests.support.servers import nats_url
from tests.support.waiting import eventually

_numbers = itertools.count(1)


class Tenants:
    """What the tenant service says on the stream, in whatever order a test wants."""

    def __init__(self, bus: Bus, mongo: Mongo) -> None:
        self._bus = bus
        self._mongo = mongo

    async def say(self, *events: dict[str, Any]) -> None:
        """Publish ``events``; JetStream filters none of them, because each message has an id of its own."""
        subject = self._bus.topology.subject
        await self._bus.publish([Outgoing(subject(e["type"]), f"m{next(_numbers)}", orjson.dumps(e)) for e in events])

    async def heard(self) -> None:
        """Return once everything said so far has been handled: a last event, of a tenant of nobody, was."""
        mark = f"mark-{next(_numbers)}"
        await self.say(told(mark, partner=None))

        async def there() -> Any:
            return await self._mongo.db["customers"].find_one({"slug": mark})

        await eventually(there)


def told(slug: str, version: int = 1, kind: str = "tenant.updated.v1", **state: Any) -> dict[str, Any]:
    """Return an event about a tenant, written from the published contract."""
    return {
        "specversion": "1.0",
        "id": f"event-{slug}-{version}",
        "source": "tenant",
        "type": kind,
        "subject": f"tenants/{slug}",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "sourceseq": next(_numbers),
        "data": {
            "actor": {"type": "user", "id": "p1"},
            "action": kind.removesuffix(".v1"),
            "outcome": "success",
            "resource": {"type": "tenant", "id": slug, "name": "Acme", "tenantSlug": slug, "partnerSlug": None},
            "version": version,
            "changes": {},
            "state": {
                "id": f"id-of-{slug}",
                "slug": slug,
                "name": f"Version {version}",
                "plan": "business",
                "cycle": "month",
                "currency": "EUR",
                "seats": 25,
                "domains": [],
                "billing": {"contact": "jane@acme.example", "company": None, "address": None},
                "partner": "nordic",
                "status": "active",
                "suspendedReason": None,
                "createdAt": "2026-11-22T11:00:00.000Z",
                "updatedAt": "2026-11-22T12:00:00.000Z",
                "version": version,
                **state,
            },
        },
    }


@pytest.fixture
async def tenants(
    client: httpx.AsyncClient, mongo: Mongo, nats_server: Any, nats_topology: Topology
) -> AsyncIterator[Tenants]:
    await create(client, NORDIC, FJORD)
    bus = Bus(nats_url(nats_server, "tenant"), "tenant", nats_topology)
    bus.start()
    await bus.wait_connected()
    yield Tenants(bus, mongo)
    await bus.close()


async def counts(client: httpx.AsyncClient) -> dict[str, int]:
    listed = (await client.get("/api/partners", headers=by_operator())).json()
    return {item["slug"]: item["customerCount"] for item in listed["items"]}


async def customer(mongo: Mongo, slug: str) -> dict[str, Any]:
    found = await mongo.db["customers"].find_one({"slug": slug})
    assert found is not None
    return found


def test_the_event_of_these_tests_keeps_the_contract() -> None:
    assert TenantCreated.model_validate(told("acme")["data"]).state.seats == 25


async def test_a_partner_shows_how_many_customers_it_has(client: httpx.AsyncClient, tenants: Tenants) -> None:
    await tenants.say(
        told("acme", kind="tenant.created.v1"),
        told("beta", status="suspended"),
        told("gone", status="deleted"),
        told("going", status="deleting"),
        told("globex", partner="fjord"),
    )
    await tenants.heard()
    assert await counts(client) == {"nordic": 3, "fjord": 1}
    own = await client.get("/api/partners/nordic", headers=CALLERS.headers(partner_person("nordic")))
    assert (own.json()["customerCount"], own.json()["version"], own.headers["etag"]) == (3, 1, '"1"')
    changed = await client.patch("/api/partners/nordic", json={"name": "N"}, headers=by_operator(if_match='"1"'))
    assert (changed.status_code, changed.json()["customerCount"]) == (200, 3)


async def test_the_projection_keeps_what_reports_need_and_nobodys_address(mongo: Mongo, tenants: Tenants) -> None:
    await tenants.say(told("acme", 3))
    await tenants.heard()
    row = await customer(mongo, "acme")
    assert row.pop("created_at").isoformat() == "2026-11-22T11:00:00+00:00"
    assert row == {
        "_id": "id-of-acme",
        "slug": "acme",
        "name": "Version 3",
        "partner": "nordic",
        "status": "active",
        "plan": "business",
        "seats": 25,
        "version": 3,
        "stays": [{"partner": "nordic", "cohort": "2026-11", "left": "9999-12"}],
    }
    assert "jane@acme.example" not in str(row)


async def test_in_any_order_and_said_twice_the_newest_version_stays(
    client: httpx.AsyncClient, mongo: Mongo, tenants: Tenants
) -> None:
    for order in itertools.permutations((1, 2, 3)):
        slug = "acme-" + "".join(str(version) for version in order)
        versions = {
            1: told(slug, 1, "tenant.created.v1"),
            2: told(slug, 2, partner="fjord", seats=30),
            3: told(slug, 3, "tenant.suspended.v1", status="suspended", partner="fjord", seats=40),
        }
        for version in order:  # each in a batch of its own
            await tenants.say(versions[version])
        await tenants.say(*(versions[version] for version in (*order, *reversed(order))))
    await tenants.heard()
    rows = await mongo.db["customers"].find({"slug": {"$regex": "^acme"}}).to_list()
    assert [(r["version"], r["status"], r["seats"], r["name"]) for r in rows] == [(3, "suspended", 40, "Version 3")] * 6
    assert await counts(client) == {"nordic": 0, "fjord": 6}


async def test_an_old_event_under_a_new_id_changes_nothing(mongo: Mongo, tenants: Tenants) -> None:
    await tenants.say(told("acme", 5, seats=50))
    await tenants.say({**told("acme", 4, seats=40), "id": "another"}, {**told("acme", 5, seats=99), "id": "a third"})
    await tenants.heard()
    assert (await customer(mongo, "acme"))["seats"] == 50


async def test_a_tenant_that_moves_is_counted_where_it_is(client: httpx.AsyncClient, tenants: Tenants) -> None:
    await tenants.say(told("acme", 1))
    await tenants.say(told("acme", 2, "tenant.attached.v1", partner="fjord"), told("beta", 1, partner=None))
    await tenants.heard()
    assert await counts(client) == {"nordic": 0, "fjord": 1}


async def test_text_that_looks_like_a_command_to_the_database_is_text(mongo: Mongo, tenants: Tenants) -> None:
    await tenants.say(told("acme", 1, name="$slug", plan="$$ROOT"), told("acme", 2, name="$$NOW", plan="$version"))
    await tenants.heard()
    row = await customer(mongo, "acme")
    assert (row["name"], row["plan"]) == ("$$NOW", "$version")


async def test_what_billing_says_of_a_customer_reaches_the_reports(
    client: httpx.AsyncClient, tenants: Tenants, nats_server: Any, nats_topology: Topology
) -> None:
    bus = Bus(nats_url(nats_server, "billing"), "billing", nats_topology)
    bus.start()
    await bus.wait_connected()
    said = subscription("acme", datetime(2026, 11, 22, tzinfo=UTC), arr=120, mrr=10)
    await bus.publish([Outgoing(nats_topology.subject(said["type"]), "b1", orjson.dumps(said))])

    async def shown() -> Any:
        report = await client.get("/api/partners/nordic/reports/revenue-by-plan", headers=by_operator())
        return [(currency["mrr"], currency["arr"]) for currency in report.json()["currencies"]]

    assert await eventually(shown) == [(10, 120)]
    await bus.close()


async def test_what_carries_no_tenant_is_passed_over(client: httpx.AsyncClient, mongo: Mongo, tenants: Tenants) -> None:
    denied = told("acme", kind="tenant.access_denied.v1")
    denied["data"] |= {"state": None, "resource": {"type": "operation", "id": "/api/tenants"}}
    about_somebody_else = told("acme", 2)
    about_somebody_else["subject"] = "users/acme"
    about_somebody_else["data"]["resource"]["type"] = "user"
    without_its_state = told("acme", 3)
    del without_its_state["data"]["state"]
    await tenants.say(denied, about_somebody_else, without_its_state)
    await tenants.heard()
    assert await mongo.db["customers"].find_one({"slug": "acme"}) is None
    assert await mongo.db["consumer_failures"].count_documents({}) == 0
    assert await counts(client) == {"nordic": 0, "fjord": 0}
