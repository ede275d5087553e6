"""Partners over HTTP: create, read, list, change."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from shared.auth import ServicePrincipal
from shared.contracts.partner import PartnerCreated, PartnerUpdated
from shared.mongo import Mongo
from shared.testing import ManualClock, operator
from tests.partner.conftest import serving
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create

PATH = "/api/partners/nordic"


async def events(mongo: Mongo, kind: str) -> list[dict[str, Any]]:
    """Return the data of the committed events of a type, oldest first."""
    rows = await mongo.db["outbox"].find({"type": kind}).sort("_id", 1).to_list()
    return [row["envelope"]["data"] for row in rows]


async def slugs(client: httpx.AsyncClient, query: str) -> list[str]:
    listed = await client.get(f"/api/partners?{query}", headers=by_operator())
    assert listed.status_code == 200, listed.text
    return [item["slug"] for item in listed.json()["items"]]


async def test_an_operator_creates_a_partner_and_reads_it_back(client: httpx.AsyncClient, mongo: Mongo) -> None:
    created = await client.post("/api/partners", json=NORDIC, headers=by_operator())
    assert created.status_code == 201, created.text
    assert (created.headers["location"], created.headers["etag"]) == (PATH, '"1"')
    body = created.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["createdAt"])
    assert body == {
        "id": body["id"],
        "slug": "nordic",
        "name": "Nordic Workspace",
        "domain": "nordic.example",
        "contact": {"name": "Nora Lindqvist", "email": "nora@nordic.example", "phone": "+4570123456"},
        "contract": NORDIC["contract"],
        "status": "active",
        "suspendedReason": None,
        "termination": None,
        "customerCount": 0,
        "createdAt": body["createdAt"],
        "updatedAt": body["createdAt"],
        "version": 1,
    }
    read = await client.get(PATH, headers=by_operator())
    assert (read.json(), read.headers["etag"]) == (body, '"1"')
    [told] = await events(mongo, "partner.created.v1")
    assert (told["resource"]["partnerSlug"], told["version"], told["actor"]["id"]) == ("nordic", 1, operator().id)
    assert told["state"] == {k: v for k, v in body.items() if k != "customerCount"}
    assert told["changes"]["status"] == {"before": None, "after": "active"}
    assert PartnerCreated.model_validate(told).state.contract.margins[0].margin_bps == 2_000


async def test_a_partner_needs_no_contact_and_no_domain(client: httpx.AsyncClient) -> None:
    bare = {name: NORDIC[name] for name in ("slug", "name", "contract")}
    created = (await client.post("/api/partners", json=bare, headers=by_operator())).json()
    assert (created["domain"], created["contact"]) == (None, {"name": None, "email": None, "phone": None})


async def test_a_domain_is_kept_in_its_ascii_form(client: httpx.AsyncClient) -> None:
    # The A-label of «bücher» as RFC 3492 makes it; the upper case is folded (UTS 46).
    created = await client.post("/api/partners", json={**NORDIC, "domain": "Bücher.Example"}, headers=by_operator())
    assert created.json()["domain"] == "xn--bcher-kva.example"


async def test_a_slug_is_never_used_twice(client: httpx.AsyncClient, mongo: Mongo) -> None:
    bodies = [{**NORDIC, "name": f"Number {number}"} for number in range(4)]
    answers = await asyncio.gather(*(client.post("/api/partners", json=b, headers=by_operator()) for b in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"slug_taken"}
    assert len(await events(mongo, "partner.created.v1")) == 1


async def test_the_same_key_creates_once_and_another_body_under_it_is_refused(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    keyed = by_operator(idempotency_key="k-1")
    first = await client.post("/api/partners", json=NORDIC, headers=keyed)
    again = await client.post("/api/partners", json=NORDIC, headers=keyed)
    assert (again.status_code, again.content, again.headers["etag"]) == (201, first.content, '"1"')
    assert (again.headers["location"], again.headers["idempotency-replayed"]) == (PATH, "true")
    other = await client.post("/api/partners", json=FJORD, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await events(mongo, "partner.created.v1")) == 1


@pytest.mark.parametrize(
    ("collection", "rule"),
    [
        ("outbox", {"type": {"$nin": ["partner.created.v1", "partner.updated.v1"]}}),
        ("idempotency", {"answer": None}),  # the last write of the transaction
    ],
)
async def test_a_partner_and_its_event_and_its_answer_are_written_together_or_not_at_all(
    client: httpx.AsyncClient, mongo: Mongo, collection: str, rule: dict[str, Any]
) -> None:
    keyed = by_operator(idempotency_key="k-1")
    await create(client, FJORD)
    before = await mongo.db["partners"].find().to_list()
    await mongo.db.command("collMod", collection, validator=rule)
    with capture_logs():  # the tests' own log would take seconds to paint each traceback
        assert (await client.post("/api/partners", json=NORDIC, headers=keyed)).status_code == 500
        if collection == "outbox":
            changed = await client.patch("/api/partners/fjord", json={"name": "x"}, headers=by_operator())
            assert changed.status_code == 500
    assert await mongo.db["partners"].find().to_list() == before
    assert await mongo.db["outbox"].count_documents({}) == 1
    await mongo.db.command("collMod", collection, validator={})
    assert (await client.post("/api/partners", json=NORDIC, headers=keyed)).status_code == 201
    assert await slugs(client, "") == ["fjord", "nordic"]


async def test_a_list_is_paged_by_slug_and_each_page_names_the_next(client: httpx.AsyncClient) -> None:
    names = ["aurora", "baltic", "coast", "delta", "ember"]
    await create(client, *({**NORDIC, "slug": name} for name in reversed(names)))
    seen: list[str] = []
    path: str | None = "/api/partners?limit=2&status=active"
    while path is not None:
        page = await client.get(path, headers=by_operator())
        seen += [item["slug"] for item in page.json()["items"]]
        link = re.fullmatch(r'<([^>]+)>; rel="next"', page.headers.get("link", ""))
        assert bool(link) is (page.json()["next"] is not None)
        path = link.group(1) if link else None
    assert seen == names
    cursor = (await client.get("/api/partners?limit=2", headers=by_operator())).json()["next"]
    elsewhere = await client.get(f"/api/partners?limit=2&q=n&cursor={cursor}", headers=by_operator())
    assert (elsewhere.status_code, elsewhere.json()["errors"][0]["field"]) == (422, "cursor")


async def test_a_list_is_narrowed_by_status_and_by_the_beginnings_of_words(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    await create(client, NORDIC, FJORD)
    await mongo.db["partners"].update_one({"slug": "fjord"}, {"$set": {"status": "suspended"}})
    assert await slugs(client, "status=active") == ["nordic"]
    assert await slugs(client, "status=suspended") == ["fjord"]
    assert await slugs(client, "q=WORKSP") == ["nordic"]
    assert await slugs(client, "q=dig+fj") == ["fjord"]
    assert await slugs(client, "q=ordic") == []
    assert await slugs(client, "q=.*") == []
    assert await slugs(client, "") == ["fjord", "nordic"]


async def test_a_change_touches_what_it_names_and_nothing_else(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await create(client, NORDIC)
    change = {"name": "Nordic Group", "contact": {"phone": None, "email": "desk@nordic.example"}}
    changed = await client.patch(PATH, json=change, headers=by_operator(if_match='"1"'))
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"'), changed.text
    body = changed.json()
    assert (body["name"], body["domain"], body["contract"]) == (
        "Nordic Group",
        "nordic.example",
        NORDIC["contract"],
    )
    assert body["contact"] == {"name": "Nora Lindqvist", "email": "desk@nordic.example", "phone": None}
    assert (await client.get(PATH, headers=by_operator())).json() == body
    assert await slugs(client, "q=group") == ["nordic"]
    [told] = await events(mongo, "partner.updated.v1")
    assert (told["version"], told["state"]["name"]) == (2, "Nordic Group")
    assert PartnerUpdated.model_validate(told).state.contact.email == "desk@nordic.example"
    assert {name for name, change in told["changes"].items() if change} == {"name", "contact"}
    assert told["changes"]["name"] == {"before": "Nordic Workspace", "after": "Nordic Group"}


async def test_null_clears_domain_and_contact(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC)
    cleared = await client.patch(PATH, json={"domain": None, "contact": None}, headers=by_operator())
    assert cleared.json()["domain"] is None
    assert cleared.json()["contact"] == {"name": None, "email": None, "phone": None}


async def test_the_same_change_again_writes_nothing_and_tells_nobody(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await create(client, NORDIC)
    tomorrow = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
    change = {
        "name": "Nordic Group",
        "domain": "group.example",
        "contact": {"name": None},
        "contract": {"margins": [{"since": tomorrow, "marginBps": 2_500}]},
    }
    first = await client.patch(PATH, json=change, headers=by_operator())
    assert first.headers["etag"] == '"2"'
    again = await client.patch(PATH, json=change, headers=by_operator(if_match='"2"'))
    assert (again.status_code, again.content, again.headers["etag"]) == (200, first.content, '"2"')
    nothing = await client.patch(PATH, json={}, headers=by_operator())
    assert nothing.content == first.content
    assert len(await events(mongo, "partner.updated.v1")) == 1


async def test_a_change_of_another_version_than_the_current_is_refused(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await create(client, NORDIC)
    await client.patch(PATH, json={"name": "Second"}, headers=by_operator())
    for tag in ('"1"', '"3"'):
        stale = await client.patch(PATH, json={"name": "Third"}, headers=by_operator(if_match=tag))
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert (await client.get(PATH, headers=by_operator())).json()["name"] == "Second"
    assert len(await events(mongo, "partner.updated.v1")) == 1


async def test_of_two_changes_at_once_to_the_same_version_one_is_refused(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC)
    headers = by_operator(if_match='"1"')
    names = ["North", "South", "East", "West"]
    answers = await asyncio.gather(*(client.patch(PATH, json={"name": name}, headers=headers) for name in names))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    winner = next(answer for answer in answers if answer.status_code == 200)
    assert (await client.get(PATH, headers=by_operator())).content == winner.content


async def test_changes_at_once_to_different_fields_are_all_kept(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC)
    changes: list[dict[str, Any]] = [{"name": "North"}, {"domain": "north.example"}, {"contact": {"name": None}}]
    await asyncio.gather(*(client.patch(PATH, json=change, headers=by_operator()) for change in changes))
    body = (await client.get(PATH, headers=by_operator())).json()
    assert (body["name"], body["domain"], body["contact"]["name"], body["version"]) == (
        "North",
        "north.example",
        None,
        4,
    )


async def test_a_margin_changes_today_by_utc_or_later_and_never_in_the_past(
    service_environment: Any, mongo: Mongo
) -> None:
    clock = ManualClock(datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC))

    async def change(since: str, bps: int | None) -> httpx.Response:
        body = {"contract": {"margins": [{"since": since, "marginBps": bps}]}}
        return await client.patch(PATH, json=body, headers=by_operator())

    async with serving(service_environment, clock) as client:
        await create(client, NORDIC)
        assert (await change("2026-11-22", 2_500)).status_code == 200
        clock.advance(timedelta(milliseconds=1))
        late = await change("2026-11-22", 3_000)
        assert (late.status_code, late.json()["errors"][0]["field"]) == (422, "contract.margins.0.since")
        assert late.json()["errors"][0]["code"] == "in_the_past"
        assert (await change("2026-01-01", None)).status_code == 422
        assert (await change("2026-11-23", 3_000)).status_code == 200
        assert (await change("2027-01-01", 1_000)).status_code == 200
        assert (await change("2027-01-01", None)).status_code == 200
        read = (await client.get(PATH, headers=by_operator())).json()
    assert read["contract"] == {
        "startsOn": "2026-01-01",
        "termMonths": 24,
        "margins": [
            {"since": "2026-01-01", "marginBps": 2_000},
            {"since": "2026-11-22", "marginBps": 2_500},
            {"since": "2026-11-23", "marginBps": 3_000},
        ],
    }
    told = await events(mongo, "partner.updated.v1")
    assert [len(event["state"]["contract"]["margins"]) for event in told] == [2, 3, 4, 3]


async def test_services_read_every_partner_page_by_page_in_the_state_of_its_newest_event(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    await create(client, NORDIC, FJORD)
    await client.patch(PATH, json={"name": "Nordic Group"}, headers=by_operator())
    headers = CALLERS.headers(ServicePrincipal(name="tenant"))
    first = (await client.get("/internal/snapshots/partners?limit=1", headers=headers)).json()
    second = (await client.get(f"/internal/snapshots/partners?limit=1&cursor={first['next']}", headers=headers)).json()
    [created] = [e for e in await events(mongo, "partner.created.v1") if e["state"]["slug"] == "fjord"]
    [updated] = await events(mongo, "partner.updated.v1")
    assert first["items"] == [created["state"]]
    assert second == {"items": [updated["state"]], "next": None}
