"""Reports that a partner keeps: a closed vocabulary, at most 50, and figures counted here from the same facts."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.clock import rfc3339
from shared.contracts.partner import PartnerReportRemoved, PartnerReportSaved
from shared.mongo import Mongo
from shared.testing import ManualClock, operator, partner_person
from tests.partner.conftest import serving
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create
from tests.partner.hearing import Ear, subscription, tenant, usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CUSTOM = "/api/partners/nordic/reports/custom"
STAFF = partner_person("nordic", "staff")
SEATS = {"dataset": "customers", "groupBy": ["plan"], "measures": ["customers", "seats"]}


@pytest.fixture
async def client(service_environment: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service_environment, ManualClock(NOW)) as http:
        await create(http, NORDIC, FJORD)
        yield http


async def save(client: httpx.AsyncClient, name: str, definition: Any, **headers: str) -> httpx.Response:
    body = {"name": name, "definition": definition}
    return await client.post(CUSTOM, json=body, headers=CALLERS.headers(STAFF, **headers))


async def run(client: httpx.AsyncClient, definition: dict[str, Any]) -> dict[str, Any]:
    """Save a report, run it and remove it again."""
    made = await save(client, "for a moment", definition)
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    answer = await client.post(f"{path}/run", headers=CALLERS.headers(STAFF))
    assert answer.status_code == 200, answer.text
    assert (await client.delete(path, headers=CALLERS.headers(STAFF))).status_code == 204
    body: dict[str, Any] = answer.json()
    return body


async def test_a_report_is_kept_listed_read_and_removed_with_an_event_each(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    full = {**SEATS, "filters": {"status": ["active"]}, "range": {"from": "2026-01", "to": "2026-12"}}
    made = await save(client, "Seats by plan", full, idempotency_key="k")
    assert (made.status_code, made.headers["etag"], made.json()["definition"]) == (201, '"1"', full)
    assert (await save(client, "Seats by plan", full, idempotency_key="k")).content == made.content
    await save(client, "a first", SEATS)
    headers = CALLERS.headers(STAFF)
    listed = (await client.get(f"{CUSTOM}?limit=1", headers=headers)).json()
    rest = (await client.get(f"{CUSTOM}?limit=1&cursor={listed['next']}", headers=headers)).json()
    assert [item["name"] for item in (*listed["items"], *rest["items"])] == ["a first", "Seats by plan"]
    path = made.headers["location"]
    assert (await client.get(path, headers=headers)).json() == made.json()
    assert [(await client.delete(path, headers=headers)).status_code for _ in range(2)] == [204, 404]
    assert (await client.get(path, headers=headers)).status_code == 404
    told = [row["envelope"] async for row in mongo.db["outbox"].find({"type": {"$regex": "report"}}).sort("_id", 1)]
    saved, _, removed = told
    assert PartnerReportSaved.model_validate(saved["data"]).state.name == "Seats by plan"
    assert PartnerReportRemoved.model_validate(removed["data"]).state.dataset == "customers"
    assert (removed["subject"], removed["data"]["resource"]["partnerSlug"]) == (saved["subject"], "nordic")


async def test_a_name_is_used_once_per_partner_whatever_its_capitals(client: httpx.AsyncClient) -> None:
    first, twin = await save(client, "Straße", SEATS), await save(client, "STRASSE", SEATS)
    assert (first.status_code, twin.status_code, twin.json()["code"]) == (201, 409, "report_name_taken")
    body = {"name": "Straße", "definition": SEATS}
    elsewhere = await client.post("/api/partners/fjord/reports/custom", json=body, headers=by_operator())
    assert elsewhere.status_code == 201


async def test_a_partner_keeps_fifty_and_not_one_more_however_many_ask_at_once(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    for number in range(48):
        assert (await save(client, f"report {number}", SEATS)).status_code == 201
    answers = await asyncio.gather(*(save(client, f"late {number}", SEATS) for number in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"too_many_saved_reports"}
    assert await mongo.db["saved_reports"].count_documents({}) == 50
    made = next(answer for answer in answers if answer.status_code == 201)
    # Removed twice at once, it makes room for one.
    gone = await asyncio.gather(*(client.delete(made.headers["location"], headers=by_operator()) for _ in range(2)))
    assert 204 in {answer.status_code for answer in gone}
    assert [(await save(client, f"again {n}", SEATS)).status_code for n in range(2)] == [201, 409]


REFUSED: dict[str, dict[str, Any]] = {
    "no such dataset": {**SEATS, "dataset": "people"},
    "a group of the other dataset": {**SEATS, "groupBy": ["currency"]},
    "a field of the database": {**SEATS, "groupBy": ["tenant.name"]},
    "an expression": {**SEATS, "groupBy": ["$tenant.name"]},
    "an operator as group": {**SEATS, "groupBy": [{"$function": {"body": "1"}}]},
    "three groups": {**SEATS, "groupBy": ["plan", "status", "health"]},
    "a group twice": {**SEATS, "groupBy": ["plan", "plan"]},
    "no measure": {**SEATS, "measures": []},
    "an unknown measure": {**SEATS, "measures": ["mrr"]},
    "an operator as filter": {**SEATS, "filters": {"$where": ["1"]}},
    "an operator as value": {**SEATS, "filters": {"plan": {"$ne": None}}},
    "an operator in the list": {**SEATS, "filters": {"plan": [{"$regex": "."}]}},
    "an expression as plan": {**SEATS, "filters": {"plan": ["$tenant.name"]}},
    "a plan with a line end": {**SEATS, "filters": {"plan": ["business\n"]}},
    "another partner": {**SEATS, "filters": {"partner": ["fjord"]}},
    "a status of nobody": {**SEATS, "filters": {"status": ["happy"]}},
    "an empty filter": {**SEATS, "filters": {"plan": []}},
    "a backward range": {**SEATS, "range": {"from": "2026-02", "to": "2026-01"}},
    "a month that is none": {**SEATS, "range": {"from": "2026-13", "to": "2027-01"}},
    "half a range": {**SEATS, "range": {"from": "2026-01"}},
    "currencies added up": {"dataset": "subscriptions", "groupBy": ["plan"], "measures": ["arr"]},
    "two currencies added up": {
        "dataset": "subscriptions",
        "measures": ["mrr"],
        "filters": {"currency": ["EUR", "DKK"]},
    },
    "an expression beside it": {**SEATS, "having": "seats > 1"},
}


async def test_what_is_not_in_the_vocabulary_is_no_report(client: httpx.AsyncClient, mongo: Mongo) -> None:
    for name, definition in REFUSED.items():
        refused = await save(client, name, definition)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), (name, refused.text)
    for broken in (None, [], "plan", 1):
        assert (await save(client, "broken", broken)).status_code == 422
    assert await mongo.db["saved_reports"].count_documents({}) == 0


async def test_a_report_counts_what_the_facts_count(client: httpx.AsyncClient, mongo: Mongo) -> None:
    ear, chance = Ear(mongo), random.Random(8)
    facts = [
        {
            "slug": f"c-{number:02}",
            "partner": chance.choice(["nordic", "nordic", "fjord"]),
            "plan": chance.choice(["starter", "business"]),
            "status": chance.choice(["active", "active", "suspended", "deleting"]),
            "seats": chance.randint(1, 20),
            "used": chance.randint(0, 20),
            "month": chance.choice([9, 10, 11]),
            "currency": chance.choice(["EUR", "DKK"]),
            "arr": chance.randint(0, 10_000),
            "live": chance.random() < 0.8,
        }
        for number in range(60)
    ]
    for f in facts:
        at = datetime(2026, f["month"], 3, tzinfo=UTC)
        known = {name: f[name] for name in ("partner", "plan", "status", "seats")}
        sub = {"partner": f["partner"], "plan": f["plan"], "seats": f["seats"], "currency": f["currency"]}
        await ear.hear(
            tenant(f["slug"], at, **known),
            usage(f["slug"], NOW, f["used"], "2026-11-22"),
            subscription(f["slug"], at, **sub, arr=f["arr"], status="active" if f["live"] else "canceled"),
        )
    own = [f for f in facts if f["partner"] == "nordic"]

    by_plan: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for f in own:
        if f["status"] == "suspended" and f["month"] in {10, 11}:
            cell = by_plan[f["plan"]]
            by_plan[f["plan"]] = [cell[0] + 1, cell[1] + f["seats"], cell[2] + f["used"]]
    measures = {"measures": ["customers", "seats", "seatsUsed"], "filters": {"status": ["suspended"]}}
    got = await run(client, {**SEATS, **measures, "range": {"from": "2026-10", "to": "2026-11"}})
    assert got["columns"] == ["plan", "customers", "seats", "seatsUsed"]
    assert got["rows"] == [[plan, *by_plan[plan]] for plan in sorted(by_plan)]

    # Everybody was seen today, so only who is suspended is at risk; nobody here is gone.
    levels = await run(
        client, {"dataset": "customers", "groupBy": ["health", "signupMonth"], "measures": ["customers"]}
    )
    at_risk: defaultdict[str, int] = defaultdict(int)
    for f in own:
        if f["status"] == "suspended":
            at_risk[f"2026-{f['month']:02}"] += 1
    found = {month: number for level, month, number in levels["rows"] if level == "atRisk"}
    assert found == dict(at_risk)
    assert sum(row[2] for row in levels["rows"]) == sum(f["status"] != "deleting" for f in own)

    money = await run(
        client,
        {"dataset": "subscriptions", "groupBy": ["currency", "plan"], "measures": ["subscriptions", "arr", "mrr"]},
    )
    years: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for f in own:
        if f["live"]:
            years[f["currency"], f["plan"]].append(f["arr"])
    assert [row[:4] for row in money["rows"]] == [[*key, len(years[key]), sum(years[key])] for key in sorted(years)]
    for currency in ("DKK", "EUR"):
        whole = sum(sum(values) for key, values in years.items() if key[0] == currency)
        months = sum(row[4] for row in money["rows"] if row[0] == currency)
        assert abs(12 * months - whole) <= 6
    assert (money["complete"], money["asOf"]) == (True, rfc3339(NOW))


async def test_a_report_without_groups_is_one_row_and_as_csv_it_has_a_header(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    total = {"dataset": "customers", "measures": ["seats"]}
    assert (await run(client, total))["rows"] == []
    await Ear(mongo).hear(tenant("acme", NOW, seats=7), tenant("beta", NOW - timedelta(days=1), seats=5))
    assert (await run(client, total))["rows"] == [[12]]
    made = await save(client, '../../"x";', {**SEATS, "groupBy": ["plan", "status"]})
    answer = await client.post(f"{made.headers['location']}/run?format=csv", headers=by_operator())
    assert answer.text == "plan,status,customers,seats\r\nbusiness,active,2,12\r\n"
    assert answer.headers["content-disposition"] == 'attachment; filename="report.csv"'


async def test_a_report_belongs_to_its_partner(client: httpx.AsyncClient, mongo: Mongo) -> None:
    path = (await save(client, "Ours", SEATS)).headers["location"]
    foreign_path = path.replace("/nordic/", "/fjord/")
    fjord = partner_person("fjord", "owner")
    for caller, at in ((fjord, path), (fjord, foreign_path), (operator(), foreign_path), (STAFF, foreign_path)):
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
            refused = await client.request(method, f"{at}{end}", headers=CALLERS.headers(caller))
            assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    body = {"name": "Theirs", "definition": SEATS}
    assert (await client.post(CUSTOM, json=body, headers=CALLERS.headers(fjord))).status_code == 404
    assert await mongo.db["saved_reports"].distinct("name") == ["Ours"]
