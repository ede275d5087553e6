"""Subscriptions follow tenants whose events never came, from the owner's snapshot; and what billing owns is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.billing.main import build
from services.billing.settings import BillingSettings
from shared.auth import ServicePrincipal
from shared.contracts.tenant import BillingContact, TenantState
from shared.mongo import Mongo
from shared.projections.keeper import Keeper
from shared.testing import PROCESSES, Callers, operator
from tests.integration.owners import Book
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

CALLERS = Callers("billing")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def app(service_environment: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Keeper]]:
    settings = BillingSettings(**service_environment("billing", owners={"tenant": "http://127.0.0.1:9"}))
    made = build(settings)
    async with LiveServer(made, settings.port) as server, httpx.AsyncClient(base_url=server.url) as http:

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
        yield http, made.state.keeper


def tenant(slug: str, version: int, seats: int, status: Any = "active") -> TenantState:
    return TenantState(
        id=f"id-of-{slug}",
        slug=slug,
        name=slug,
        plan="business",
        cycle="month",
        currency="EUR",
        seats=seats,
        domains=(),
        billing=BillingContact(),
        partner="nordic",
        status=status,
        created_at=NOW,
        updated_at=NOW,
        version=version,
    )


async def test_a_missed_step_is_caught_up_once_and_revenue_is_the_sum_of_its_movements(app: Any, mongo: Mongo) -> None:
    http, keeper = app
    by_operator = CALLERS.headers(operator())
    sold = {"plan": "business", "cycle": "month", "amounts": {"EUR": 1000}}
    price = await http.post("/api/prices", json=sold, headers=by_operator)
    assert price.status_code == 201, price.text
    said: list[str] = []
    catch_up = keeper.catch_ups["subscriptions"]
    book = Book(tenant("acme", 3, 5), tenant("beta", 1, 2))
    await catch_up.run(book, said.append)
    book.states = [tenant("acme", 4, 7), tenant("beta", 1, 2)]
    await catch_up.run(book, said.append)
    await catch_up.run(book, said.append)
    assert [text.removeprefix("subscriptions: ").split(" had")[0] for text in said] == [
        "2 looked at, 2",
        "2 looked at, 1",
        "2 looked at, 0",
    ]
    for name, seats in (("acme", 7), ("beta", 2)):
        answer = await http.get(f"/api/tenants/{name}/billing/summary", headers=by_operator)
        assert answer.json()["subscription"]["seats"] == seats
    moved = [(m["kind"], m["delta"], m["caused_by"]) async for m in mongo.db["movements"].find().sort("at", 1)]
    assert sorted(moved) == [
        ("expansion", 24_000, "tenants/acme@4"),
        ("new", 24_000, "tenants/beta@1"),
        ("new", 60_000, "tenants/acme@3"),
    ]
    events = [row["type"] async for row in mongo.db["outbox"].find({"aggregate": {"$regex": "^subscriptions/"}})]
    assert sorted(events) == ["subscription.started.v1", "subscription.started.v1", "subscription.updated.v1"]


async def test_snapshots_carry_the_states_of_the_newest_events_to_those_who_follow(app: Any, mongo: Mongo) -> None:
    http, keeper = app
    for plan in ("starter", "business"):
        sold = {"plan": plan, "cycle": "month", "amounts": {"EUR": 1000}}
        await http.post("/api/prices", json=sold, headers=CALLERS.headers(operator()))
    await keeper.catch_ups["subscriptions"].run(Book(tenant("acme", 1, 5)), lambda _: None)
    told = {
        kind: [
            row["envelope"]["data"]["state"]
            async for row in mongo.db["outbox"].find({"type": {"$regex": f"^{kind}"}}).sort("aggregate", 1)
        ]
        for kind in ("price", "subscription")
    }
    for path, follower, kind in (("prices", "tenant", "price"), ("subscriptions", "partner", "subscription")):
        items, cursor = [], None
        while True:
            query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
            headers = CALLERS.headers(ServicePrincipal(name=follower))
            page = (await http.get(f"/internal/snapshots/{path}", params=query, headers=headers)).json()
            items += page["items"]
            if (cursor := page["next"]) is None:
                break
        assert items == told[kind]
        refused = {
            name: (
                await http.get(f"/internal/snapshots/{path}", headers=CALLERS.headers(ServicePrincipal(name=name)))
            ).status_code
            for name in PROCESSES
        }
        assert {name for name, status in refused.items() if status == 200} == {follower}
        assert {status for name, status in refused.items() if name != follower} == {403}
