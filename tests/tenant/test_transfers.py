"""Transfers: what a partner may ask for blindly, who answers, and what follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.tenant.transfers import worker
from shared.testing import operator, partner_person, tenant_person
from tests.support.waiting import eventually
from tests.tenant.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
FJORD = "/api/partners/fjord/transfers"
STAFF = partner_person("fjord")
DAY = timedelta(days=1)


async def _types(desk: Desk, *aggregates: str) -> list[str]:
    return [event["type"] for aggregate in aggregates for event in await desk.told(aggregate)]


async def test_a_tenant_passes_to_the_partner_that_asked_when_its_admin_accepts(desk: Desk) -> None:
    slug = await desk.put()
    admin = tenant_person(slug, "admin")
    asked = await desk.call("POST", FJORD, {"tenant": slug}, STAFF)
    assert (asked.status_code, asked.headers["etag"], asked.json()["status"]) == (201, '"1"', "open")
    transfer = asked.json()["id"]
    seen = (await desk.call("GET", f"/api/tenants/{slug}/transfers", None, admin)).json()["items"]
    assert seen == [asked.json()]
    done = await desk.call("POST", f"/api/tenants/{slug}/transfers/{transfer}/accept", None, admin, if_match='"1"')
    assert (done.status_code, done.json()["status"], done.json()["version"]) == (200, "accepted", 2)
    tenant = (await desk.call("GET", f"/api/tenants/{slug}", None, STAFF)).json()
    assert (tenant["partner"], tenant["version"]) == ("fjord", 8)
    (before, now) = tenant["ownership"]
    assert (before["partner"], now["partner"], now["since"], now["until"]) == ("nordic", "fjord", before["until"], None)
    assert (await desk.call("GET", f"/api/tenants/{slug}", None, partner_person("nordic"))).status_code == 404
    (moved,) = await desk.told(f"tenants/{slug}")
    said = (moved["data"]["fromPartner"], moved["data"]["toPartner"], moved["data"]["transfer"])
    assert (moved["type"], *said) == ("tenant.transferred.v1", "nordic", "fjord", transfer)
    opened, closed = await desk.told(f"transfers/{transfer}")
    assert [event["data"]["version"] for event in (opened, closed)] == [1, 2]
    assert closed["data"]["changes"] == {"status": {"before": "open", "after": "accepted"}}
    again = await desk.call("POST", f"/api/tenants/{slug}/transfers/{transfer}/accept", None, admin)
    assert (again.status_code, again.json()) == (200, done.json())


async def test_accepting_one_refuses_everybody_else_who_asked(desk: Desk) -> None:
    slug = await desk.put()
    mine, theirs = await desk.ask(slug, "fjord"), await desk.ask(slug, "glacier")
    late = await desk.ask(slug, "baltic", expires_at=datetime.now(UTC) - DAY)
    answer = await desk.call("POST", f"/api/tenants/{slug}/transfers/{mine}/accept")
    assert answer.status_code == 200, answer.text
    rows = {row["_id"]: row["status"] async for row in desk.mongo.db["transfers"].find({"tenant": slug})}
    assert rows == {mine: "accepted", theirs: "refused", late: "expired"}
    for transfer in (mine, theirs, late):
        assert await _types(desk, f"transfers/{transfer}") == ["tenant.transfer_closed.v1"]


async def test_whoever_asks_does_not_learn_whether_there_is_such_a_tenant(desk: Desk) -> None:
    """Not by the answer, and not by what is told of it."""
    slug = await desk.put()
    answers = [await desk.call("POST", FJORD, {"tenant": name}, STAFF) for name in (slug, "t-missing")]
    fixed = ({"toPartner": "fjord", "status": "open", "closedAt": None, "version": 1},) * 2
    assert tuple({name: a.json()[name] for name in fixed[0]} for a in answers) == fixed
    assert [a.status_code for a in answers] == [201, 201]
    resources = [(await desk.told(f"transfers/{a.json()['id']}"))[0]["data"]["resource"] for a in answers]
    assert [(r["partnerSlug"], r["tenantSlug"]) for r in resources] == [("fjord", None)] * 2


async def test_a_foreign_tenant_is_never_fetched_while_asking(desk: Desk) -> None:
    """The database's own profile of the request: as many documents and keys for a foreign tenant as for none."""
    slug = await desk.put()
    await desk.mongo.db.command("profile", 2)
    try:
        for name in (slug, "t-not-there"):
            assert (await desk.call("POST", FJORD, {"tenant": name}, STAFF)).status_code == 201
    finally:
        await desk.mongo.db.command("profile", 0)
    looks = desk.mongo.db["system.profile"].find(
        {"ns": f"{desk.mongo.db.name}.tenants", "op": "query"}, {"docsExamined": 1, "keysExamined": 1, "_id": 0}
    )
    first, second = await looks.to_list()
    assert first == second
    assert first["docsExamined"] == 0


async def test_a_partner_asks_once_for_a_tenant_and_again_when_that_is_over(desk: Desk) -> None:
    first = await desk.call("POST", FJORD, {"tenant": "acme"}, STAFF)
    twice = await desk.call("POST", FJORD, {"tenant": "acme"}, STAFF)
    assert (twice.status_code, twice.json()["code"]) == (409, "transfer_already_open")
    path = f"{FJORD}/{first.json()['id']}"
    for _ in range(2):
        taken_back = await desk.call("DELETE", path, None, STAFF)
        assert (taken_back.status_code, taken_back.json()["status"], taken_back.json()["version"]) == (
            200,
            "withdrawn",
            2,
        )
    assert (await desk.call("POST", FJORD, {"tenant": "acme"}, STAFF)).status_code == 201
    assert (await desk.call("POST", "/api/partners/glacier/transfers", {"tenant": "acme"})).status_code == 201


async def test_a_partner_waits_for_a_hundred_answers_at_most_however_fast_it_asks(desk: Desk) -> None:
    crowd = await desk.partner("crowd")
    for number in range(95):
        await desk.ask(f"other-{number}", "crowd")
    await desk.ask("over", "crowd", expires_at=datetime.now(UTC) - DAY)
    path = "/api/partners/crowd/transfers"
    asked = await asyncio.gather(*(desk.call("POST", path, {"tenant": f"new-{n}"}, crowd) for n in range(10)))
    assert sorted(answer.status_code for answer in asked) == [201] * 5 + [409] * 5
    assert {answer.json()["code"] for answer in asked if answer.status_code == 409} == {"too_many_transfers"}
    assert await desk.mongo.db["transfers"].count_documents({"to_partner": "crowd", "status": "open"}) == 100


async def test_a_request_is_over_for_its_readers_at_once_and_written_down_by_the_worker(desk: Desk) -> None:
    slug = await desk.put()
    late_staff = await desk.partner("late")
    transfer = await desk.ask(slug, "late", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    (seen,) = (await desk.call("GET", "/api/partners/late/transfers", None, late_staff)).json()["items"]
    assert (seen["status"], seen["closedAt"]) == ("expired", seen["expiresAt"])
    late = await desk.call("POST", f"/api/tenants/{slug}/transfers/{transfer}/accept")
    assert (late.status_code, late.json()["code"]) == (409, "transfer_closed")

    async def written() -> bool:
        row = await desk.mongo.db["transfers"].find_one({"_id": transfer})
        return row is not None and row["status"] == "expired"

    await eventually(written, seconds=3 * worker.LOOK_SECONDS)
    (closed,) = await desk.told(f"transfers/{transfer}")
    assert (closed["data"]["actor"]["type"], closed["data"]["state"]["status"]) == ("system", "expired")
    assert (await desk.stored(slug))["partner"] == "nordic"


async def test_what_is_answered_stays_answered(desk: Desk) -> None:
    slug = await desk.put()
    transfer = await desk.ask(slug, "fjord")
    base = f"/api/tenants/{slug}/transfers/{transfer}"
    stale = await desk.call("POST", f"{base}/refuse", if_match='"2"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    for _ in range(2):
        refused = await desk.call("POST", f"{base}/refuse")
        assert (refused.status_code, refused.json()["status"]) == (200, "refused")
    for method, path in (("POST", f"{base}/accept"), ("DELETE", f"{FJORD}/{transfer}")):
        answer = await desk.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (409, "transfer_closed")
    assert await _types(desk, f"tenants/{slug}", f"transfers/{transfer}") == ["tenant.transfer_closed.v1"]


@pytest.mark.parametrize(
    ("state", "partner", "target", "code"),
    [
        ("active", "nordic", "terminating", "partner_not_active"),
        ("active", None, "active", "no_partner"),
        ("deleting", "nordic", "active", "wrong_status"),
    ],
)
async def test_a_tenant_passes_only_where_it_can_be_taken(
    desk: Desk, state: str, partner: str | None, target: str, code: str
) -> None:
    slug = await desk.put(state, partner)
    await desk.partner(f"target-of-{slug}", target)
    transfer = await desk.ask(slug, f"target-of-{slug}")
    before = await desk.stored(slug)
    refused = await desk.call("POST", f"/api/tenants/{slug}/transfers/{transfer}/accept")
    assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert await desk.stored(slug) == before
    row = await desk.mongo.db["transfers"].find_one({"_id": transfer})
    assert row is not None
    assert row["status"] == "open"


async def test_of_two_that_are_accepted_at_once_one_gets_the_tenant(desk: Desk) -> None:
    slug = await desk.put()
    asked = [await desk.ask(slug, "fjord"), await desk.ask(slug, "glacier")]
    paths = [f"/api/tenants/{slug}/transfers/{transfer}/accept" for transfer in asked]
    answers = await asyncio.gather(*(desk.call("POST", path) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert await _types(desk, f"tenants/{slug}") == ["tenant.transferred.v1"]
    assert (await desk.stored(slug))["version"] == 8


async def test_requests_are_listed_page_by_page_to_their_own_side_only(desk: Desk) -> None:
    slug, staff, listing = await desk.put(), await desk.partner("listing"), "/api/partners/listing/transfers"
    asked = [(await desk.call("POST", listing, {"tenant": f"t-{n}"}, staff)).json()["id"] for n in range(3)]
    other = await desk.ask(slug, "glacier")

    async def listed(path: str, caller: Any) -> list[str]:
        ids: list[str] = []
        cursor = ""
        while True:
            page = await desk.call("GET", f"{path}?limit=2{cursor}", None, caller)
            assert page.status_code == 200, page.text
            ids += [item["id"] for item in page.json()["items"]]
            if page.json()["next"] is None:
                return ids
            cursor = f"&cursor={page.json()['next']}"

    assert await listed(listing, staff) == asked
    assert await listed(listing, operator()) == asked
    assert await listed(f"/api/tenants/{slug}/transfers", tenant_person(slug, "admin")) == [other]
    for path, caller, status in (
        *((FJORD, partner_person("glacier"), 404), (FJORD, tenant_person(slug), 404)),
        *((f"/api/tenants/{slug}/transfers", partner_person("nordic", "owner"), 403),),
        *((f"/api/tenants/{slug}/transfers", tenant_person(slug, "member"), 403),),
        *((f"/api/tenants/{slug}/transfers", STAFF, 404), (f"{FJORD}/{other}", STAFF, 405)),
    ):
        assert (await desk.call("GET", path, None, caller)).status_code == status, path
    # A request is found from its own side only, whatever the id.
    assert (await desk.call("DELETE", f"{FJORD}/{other}", None, STAFF)).status_code == 404
    assert (await desk.call("POST", f"/api/tenants/{slug}/transfers/{asked[0]}/accept")).status_code == 404


async def test_the_same_key_asks_once(desk: Desk) -> None:
    first, second = [
        await desk.call("POST", FJORD, {"tenant": "keyed"}, STAFF, idempotency_key="k-1") for _ in range(2)
    ]
    assert (second.status_code, second.content) == (201, first.content)
    assert await desk.mongo.db["transfers"].count_documents({"tenant": "keyed"}) == 1
