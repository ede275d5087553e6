"""Revenue and cohorts: what billing says, added up; and who stayed."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import httpx
import pytest

from services.billing.models import Subscription, subscription_state
from services.billing.mrr import RevenueService
from services.billing.repository import SubscriptionRepository
from shared.clock import rfc3339
from shared.mongo import Mongo, Transaction
from shared.testing import ManualClock, operator, partner_person
from tests.partner.conftest import serving
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create
from tests.partner.hearing import Ear, subscription, tenant
from tests.support.servers import TestDatabase

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REPORTS = "/api/partners/nordic/reports"


@pytest.fixture
async def client(service_environment: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service_environment, ManualClock(NOW)) as http:
        await create(http, NORDIC, FJORD)
        yield http


@pytest.fixture
def ear(mongo: Mongo, client: httpx.AsyncClient) -> Ear:
    return Ear(mongo)


@pytest.fixture
async def billing(database: TestDatabase) -> AsyncIterator[Mongo]:
    """The billing service's own database."""
    opened = Mongo(database.uri, f"{database.name}b", "tests")
    yield opened
    await opened.client.drop_database(opened.db.name)
    await opened.close()


async def read(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(f"{REPORTS}/{path}", headers=by_operator())
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def random_subscriptions(chance: random.Random, count: int) -> list[Subscription]:
    return [
        Subscription(
            id=f"subscription-{number}",
            tenant_id=f"id-of-c-{number:03}",
            tenant_slug=f"c-{number:03}",
            partner=chance.choice(["nordic", "nordic", "fjord", None]),
            plan=chance.choice(["starter", "business", "enterprise"]),
            cycle=chance.choice(["month", "year", "year"]),
            currency=chance.choice(["EUR", "DKK"]),
            seats=chance.randint(1, 50),
            per_seat=chance.choice([None, 1, 499, 1_001, 9_999]),
            status=chance.choice(["active", "active", "past_due", "paused", "canceled"]),
            started_at=NOW,
            updated_at=NOW,
            tenant_version=1,
            version=chance.randint(1, 5),
        )
        for number in range(count)
    ]


async def tell(ear: Ear, subscriptions: list[Subscription], chance: random.Random) -> None:
    """Let the service hear of tenants and of what billing's own contract carries, mixed and some of it twice."""
    said = [tenant(s.tenant_slug, NOW, name=f"={s.tenant_slug}", partner=s.partner) for s in subscriptions]
    for one in subscriptions:
        state = subscription_state(one).model_dump(mode="json", by_alias=True)
        said += [subscription(one.tenant_slug, NOW, **state)] * chance.choice([1, 1, 2])
        if one.version > 1:
            old = {**state, "arr": 1, "mrr": 1, "version": one.version - 1}
            said.append(subscription(one.tenant_slug, NOW, **old))
    chance.shuffle(said)
    await ear.hear(*said)


@pytest.mark.parametrize("seed", [3, 4])
async def test_revenue_by_plan_is_what_billing_shows_for_the_same_subscriptions(
    client: httpx.AsyncClient, ear: Ear, billing: Mongo, seed: int
) -> None:
    chance = random.Random(seed)
    subscriptions = random_subscriptions(chance, 60)
    await tell(ear, subscriptions, chance)
    kept = SubscriptionRepository(billing)

    async def keep(tx: Transaction) -> None:
        for one in subscriptions:
            await kept.save(None, one, tx)

    await billing.transactions.run(keep)
    expected = await RevenueService(kept).partner(operator(), "nordic")
    shown = (await read(client, "revenue-by-plan"))["currencies"]
    assert [(c["currency"], c["mrr"], c["arr"], c["subscriptions"], c["seats"]) for c in shown] == [
        (e.currency, e.mrr, e.arr, e.subscriptions, e.seats) for e in expected
    ]
    years: defaultdict[tuple[str, str], int] = defaultdict(int)
    live = [s for s in subscriptions if s.partner == "nordic" and s.status != "canceled"]
    for one in live:
        years[one.currency, one.plan] += (one.per_seat or 0) * one.seats * (12 if one.cycle == "month" else 1)
    for currency in shown:
        assert sum(plan["mrr"] for plan in currency["plans"]) == currency["mrr"]
        for plan in currency["plans"]:
            assert plan["arr"] == years[currency["currency"], plan["plan"]]
            assert abs(plan["mrr"] - Fraction(plan["arr"], 12)) < 1
    assert sum(len(currency["plans"]) for currency in shown) == len(years)


async def test_top_customers_are_those_with_the_largest_year_and_equal_ones_by_slug(
    client: httpx.AsyncClient, ear: Ear
) -> None:
    chance = random.Random(5)
    subscriptions = random_subscriptions(chance, 80)
    await tell(ear, subscriptions, chance)
    by_currency = (await read(client, "top-customers?limit=7"))["currencies"]
    assert [currency["currency"] for currency in by_currency] == ["DKK", "EUR"]
    for shown in by_currency:
        own = [s for s in subscriptions if (s.partner, s.currency) == ("nordic", shown["currency"])]
        ranked = sorted((s for s in own if s.arr > 0), key=lambda s: (-s.arr, s.tenant_slug))[:7]
        found = [(c["slug"], c["arr"], c["mrr"], c["plan"], c["seats"]) for c in shown["customers"]]
        assert found == [(s.tenant_slug, s.arr, s.mrr, s.plan, s.seats) for s in ranked]
        assert shown["arr"] == sum(s.arr for s in own)
    for limit in (0, 101):
        assert (await client.get(f"{REPORTS}/top-customers?limit={limit}", headers=by_operator())).status_code == 422


def _day(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T10:00:00+00:00")


def _stay(partner: str, since: str, until: str | None = None) -> dict[str, Any]:
    return {"partner": partner, "since": rfc3339(_day(since)), "until": until and rfc3339(_day(until))}


def _leaving(asked: str) -> dict[str, Any]:
    about = {"reason": None, "eraseAfter": rfc3339(NOW), "restoresTo": "active"}
    return {"requestedAt": rfc3339(_day(asked)), **about}


async def test_cohorts_count_who_came_and_who_was_still_there(client: httpx.AsyncClient, ear: Ear) -> None:
    def customer(slug: str, *stays: dict[str, Any], **state: Any) -> dict[str, Any]:
        known = {"ownership": list(stays), "createdAt": stays[0]["since"], "partner": stays[-1]["partner"]}
        return tenant(slug, NOW, **{**known, **state})

    await ear.hear(
        customer("stays", _stay("nordic", "2026-09-01")),
        customer("leaves", _stay("nordic", "2026-09-30"), status="deleting", deletion=_leaving("2026-10-31")),
        customer("is-gone-at-once", _stay("nordic", "2026-10-02"), status="deleted", deletion=_leaving("2026-10-03")),
        customer("passes-on", _stay("nordic", "2026-09-05", "2026-11-02"), _stay("fjord", "2026-11-02")),
        customer("comes", _stay("fjord", "2025-01-01", "2026-10-10"), _stay("nordic", "2026-10-10")),
        customer("waits", _stay("nordic", "2026-10-11", "2026-11-20"), partner=None),
        customer("returns", _stay("nordic", "2026-09-07", "2026-09-09"), _stay("nordic", "2026-11-09")),
        customer(
            "travels",
            _stay("nordic", "2025-01-01", "2026-09-03"),
            _stay("fjord", "2026-09-03", "2026-10-05"),
            partner="baltic",
        ),
        customer("is-old", _stay("nordic", "2025-12-31")),
        customer("is-elsewhere", _stay("fjord", "2026-10-01")),
    )
    # Written down from the page: September 4 (stays, leaves, passes-on, returns), October 3, November none.
    assert (await read(client, "cohorts?months=3"))["cohorts"] == [
        {"month": "2026-09", "customers": 4, "retained": _months(("2026-09", 4), ("2026-10", 3), ("2026-11", 2))},
        {"month": "2026-10", "customers": 3, "retained": _months(("2026-10", 2), ("2026-11", 1))},
        {"month": "2026-11", "customers": 0, "retained": _months(("2026-11", 0))},
    ]
    usual = (await read(client, "cohorts"))["cohorts"]
    assert [usual[0]["month"], usual[0]["customers"], len(usual)] == ["2025-12", 1, 12]
    restored = customer("leaves", _stay("nordic", "2026-09-30"), version=2)
    await ear.hear(restored)
    assert (await read(client, "cohorts?months=3"))["cohorts"][0]["retained"][1] == {"month": "2026-10", "customers": 4}


def _months(*cells: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"month": month, "customers": customers} for month, customers in cells]


async def rows(client: httpx.AsyncClient, path: str, **headers: str) -> list[list[str]]:
    """Return a report as CSV, read by the reader of the standard library in its strict mode."""
    answer = await client.get(f"{REPORTS}/{path}", headers=by_operator(**headers))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert answer.text.endswith("\r\n")
    assert "\n" not in answer.text.replace("\r\n", "")
    return list(csv.reader(io.StringIO(answer.text, newline=""), strict=True))


async def test_every_report_as_csv_holds_what_it_holds_as_json(client: httpx.AsyncClient, ear: Ear) -> None:
    await tell(ear, random_subscriptions(random.Random(6), 20), random.Random(6))
    plans = (await read(client, "revenue-by-plan"))["currencies"]
    header, *lines = await rows(client, "revenue-by-plan?format=csv")
    assert header == ["currency", "plan", "mrr", "arr", "subscriptions", "seats"]
    assert lines == [[c["currency"], *(str(p[name]) for name in header[1:])] for c in plans for p in c["plans"]]
    leaders = (await read(client, "top-customers"))["currencies"]
    header, *lines = await rows(client, "top-customers", accept="text/csv")
    assert [line[1] for line in lines] == [i["slug"] for c in leaders for i in c["customers"]]
    health = (await read(client, "health?limit=3"))["items"]
    header, *lines = await rows(client, "health?limit=3", accept="application/json;q=0.5, text/csv")
    assert [dict(zip(header, line, strict=True))["level"] for line in lines] == [item["level"] for item in health]
    cohorts = (await read(client, "cohorts"))["cohorts"]
    header, *lines = await rows(client, "cohorts?format=csv")
    assert lines == [
        [c["month"], str(c["customers"]), r["month"], str(r["customers"])] for c in cohorts for r in c["retained"]
    ]
    answer = await client.get(f"{REPORTS}/health?format=csv&limit=1", headers=by_operator())
    assert answer.headers["dezky-as-of"] == rfc3339(NOW)
    assert 'rel="next"' in answer.headers["link"]
    for accept, kind in (("*/*", "application/json"), ("text/csv;q=0.1, application/json", "application/json")):
        as_json = await client.get(f"{REPORTS}/cohorts", headers=by_operator(accept=accept))
        assert as_json.headers["content-type"] == kind


async def test_a_name_that_a_spreadsheet_would_run_is_text(client: httpx.AsyncClient, ear: Ear) -> None:
    openings = ["=", "+", "-", "@", "\t=", "  =", "\uff1d"]
    names = {f"c-{number}": f'{opening}cmd|" /C calc"!A0, "x"' for number, opening in enumerate(openings)}
    await ear.hear(*(tenant(slug, NOW, name=name) for slug, name in names.items()))
    _, *lines = await rows(client, "health?format=csv")
    assert {line[0]: line[1] for line in lines} == {slug: f"'{name}" for slug, name in names.items()}


async def test_figures_are_read_from_an_index_and_from_no_document(
    client: httpx.AsyncClient, ear: Ear, mongo: Mongo
) -> None:
    await tell(ear, random_subscriptions(random.Random(7), 40), random.Random(7))
    await mongo.db.command("profile", 2)
    for path in ("revenue-by-plan", "cohorts"):
        await read(client, path)
    await read(client, "health?limit=1&level=watch")
    await mongo.db.command("profile", 0)
    sums = await mongo.db["system.profile"].find({"command.aggregate": "standings"}).to_list()
    sums = [row for row in sums if "former.partner" not in row["command"]["pipeline"][0]["$match"]]
    assert len(sums) == 3
    assert [row["docsExamined"] for row in sums] == [0, 0, 0]


async def test_somebody_elses_reports_do_not_exist(client: httpx.AsyncClient, ear: Ear) -> None:
    await ear.hear(tenant("acme", NOW, partner="fjord"), subscription("acme", NOW, partner="fjord"))
    counted: Counter[int] = Counter()
    for name in ("health", "revenue-by-plan", "top-customers", "cohorts", "custom"):
        for caller in (partner_person("fjord"), partner_person("nordic", "owner"), operator()):
            foreign = await client.get(f"/api/partners/nordic/reports/{name}", headers=CALLERS.headers(caller))
            counted[foreign.status_code] += 1
            assert "acme" not in foreign.text
        missing = await client.get(f"/api/partners/nobody/reports/{name}", headers=by_operator())
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert counted == {404: 5, 200: 10}
