"""What docs/tenant-lifecycle.md says in words: deletion, detachment, who reads, what is counted, seats in use."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.clock import parse_rfc3339
from shared.testing import operator, partner_person, tenant_person
from tests.support.servers import free_port
from tests.tenant.desk import CALLERS, Desk, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY = timedelta(days=1)


async def test_a_deletion_says_until_when_it_can_be_undone_and_a_second_changes_nothing(desk: Desk) -> None:
    slug = await desk.put("suspended")
    asked = datetime.now(UTC)
    gone = await desk.call("DELETE", f"/api/tenants/{slug}", {"reason": "left"}, if_match='"7"')
    assert (gone.status_code, gone.headers["etag"]) == (202, '"8"')
    deletion = gone.json()["deletion"]
    assert (deletion["reason"], deletion["restoresTo"], deletion["erasingSince"]) == ("left", "suspended", None)
    assert abs(parse_rfc3339(deletion["eraseAfter"]) - asked - 30 * DAY) < timedelta(minutes=1)
    again = await desk.call("DELETE", f"/api/tenants/{slug}", {"reason": "twice"})
    assert again.json()["deletion"] == deletion
    back = await desk.call("POST", f"/api/tenants/{slug}/restore", if_match='"8"')
    assert (back.json()["status"], back.json()["deletion"], back.json()["suspendedReason"]) == (
        "suspended",
        None,
        "unpaid",
    )
    told = [(event["type"], event["data"]["version"]) for event in await desk.told(f"tenants/{slug}")]
    assert told == [("tenant.deletion_requested.v1", 8), ("tenant.restored.v1", 9)]


async def test_the_grace_is_a_setting_and_may_be_nothing(desk: Desk) -> None:
    slug = await desk.put()
    async with serving({**desk.environment, "port": free_port(), "deletion_grace_days": 0}) as http:
        gone = await http.delete(f"/api/tenants/{slug}", headers=CALLERS.headers(operator()))
    deletion = gone.json()["deletion"]
    assert deletion["eraseAfter"] == deletion["requestedAt"]


async def test_the_same_key_deletes_once_and_a_stale_version_not_at_all(desk: Desk) -> None:
    slug = await desk.put()
    stale = await desk.call("DELETE", f"/api/tenants/{slug}", if_match='"6"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    first = await desk.call("DELETE", f"/api/tenants/{slug}", idempotency_key="k-1")
    await desk.call("POST", f"/api/tenants/{slug}/restore")
    replayed = await desk.call("DELETE", f"/api/tenants/{slug}", idempotency_key="k-1")
    assert (replayed.status_code, replayed.content) == (202, first.content)
    assert (await desk.stored(slug))["status"] == "active"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("active", None),
        ("suspended", "tenant_suspended"),
        ("deleting", "tenant_deleted"),
        ("erasing", "tenant_deleted"),
        ("deleted", "tenant_deleted"),
    ],
)
async def test_a_plain_member_is_shut_out_and_everybody_else_reads_on(desk: Desk, state: str, code: str | None) -> None:
    slug = await desk.put(state)
    path = f"/api/tenants/{slug}"
    member = await desk.call("GET", path, None, tenant_person(slug, "member"))
    assert (member.status_code, member.json().get("code")) == ((200, None) if code is None else (403, code))
    for caller in (operator(), partner_person("nordic"), tenant_person(slug, "admin")):
        assert (await desk.call("GET", path, None, caller)).status_code == 200


async def test_a_detached_tenant_waits_and_is_listed_until_it_has_a_partner(desk: Desk) -> None:
    slug, other = await desk.put(), await desk.put()
    asked = datetime.now(UTC)
    waits = await desk.call("DELETE", f"/api/tenants/{slug}/partner")
    assert (waits.status_code, waits.json()["partner"], waits.json()["detachedOverdue"]) == (200, None, False)
    assert abs(parse_rfc3339(waits.json()["detachedUntil"]) - asked - 30 * DAY) < timedelta(minutes=1)
    event = (await desk.told(f"tenants/{slug}"))[-1]["data"]
    assert event["resource"]["partnerSlug"] == "nordic", "the partner that loses it reads that in its log"

    async def listed(value: str) -> list[str]:
        page = await desk.call("GET", f"/api/tenants?detached={value}")
        return [item["slug"] for item in page.json()["items"]]

    assert slug in await listed("true")
    assert other not in await listed("true")
    assert other in await listed("false")
    assert slug not in await listed("false")
    former, owner = partner_person("nordic"), partner_person("fjord")
    assert (await desk.call("GET", f"/api/tenants/{slug}", None, former)).status_code == 404
    await desk.mongo.db["tenants"].update_one({"slug": slug}, {"$set": {"detached_until": asked - DAY}})
    items = (await desk.call("GET", "/api/tenants?detached=true")).json()["items"]
    assert [item["detachedOverdue"] for item in items if item["slug"] == slug] == [True]
    given = await desk.call("PUT", f"/api/tenants/{slug}/partner", {"partner": "fjord"})
    assert (given.json()["partner"], given.json()["detachedUntil"], given.json()["detachedOverdue"]) == (
        "fjord",
        None,
        False,
    )
    assert [past["partner"] for past in given.json()["ownership"]] == ["nordic", "fjord"]
    assert (await desk.call("GET", f"/api/tenants/{slug}/users", None, owner)).status_code == 200
    assert (await desk.call("GET", f"/api/tenants/{slug}/users", None, former)).status_code == 404


async def test_a_tenant_waits_as_long_as_the_operator_says(desk: Desk) -> None:
    slug = await desk.put()
    until = datetime.now(UTC).replace(microsecond=0) + 3 * DAY
    waits = await desk.call("DELETE", f"/api/tenants/{slug}/partner", {"until": until.isoformat()})
    assert parse_rfc3339(waits.json()["detachedUntil"]) == until


async def test_a_partner_that_is_ending_is_given_nothing(desk: Desk) -> None:
    slug = await desk.put("active", None)
    await desk.partner("ending", "terminating")
    refused = await desk.call("PUT", f"/api/tenants/{slug}/partner", {"partner": "ending"})
    assert (refused.status_code, refused.json()["code"]) == (409, "partner_not_active")
    assert (await desk.stored(slug))["partner"] is None


async def test_the_customers_of_a_partner_are_listed_to_it_and_to_operators(desk: Desk) -> None:
    staff = await desk.partner("north")
    ours = [await desk.put("active", "north") for _ in range(3)]
    await desk.put("active", "fjord")
    for caller in (staff, operator()):
        first = await desk.call("GET", "/api/partners/north/tenants?limit=2", None, caller)
        assert first.status_code == 200, first.text
        rest = await desk.call(
            "GET", f"/api/partners/north/tenants?limit=2&cursor={first.json()['next']}", None, caller
        )
        assert [item["slug"] for item in first.json()["items"] + rest.json()["items"]] == ours
    for caller, partner in (
        *((partner_person("fjord"), "north"), (tenant_person(ours[0]), "north"), (operator(), "unheard-of")),
        (tenant_person(ours[0], "member"), "north"),
    ):
        refused = await desk.call("GET", f"/api/partners/{partner}/tenants", None, caller)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


async def test_the_counts_know_every_status(desk: Desk) -> None:
    staff = await desk.partner("counting")
    for number in range(3):
        body = {"slug": f"count-{number}", "name": "Count", "plan": "business", "seats": 1}
        assert (await desk.call("POST", "/api/tenants", body, staff)).status_code == 201
    await desk.call("DELETE", "/api/tenants/count-1")
    page = await desk.call("GET", "/api/partners/counting/tenants?status=deleting", None, staff)
    assert [item["slug"] for item in page.json()["items"]] == ["count-1"]
    assert page.json()["counts"] == {"active": 2, "deleting": 1}


# -- seats


async def _seat(desk: Desk, slug: str, number: int, **changes: Any) -> None:
    row = {"_id": f"p-{slug}-{number}", "status": "active", "tenants": {slug: "member"}, "tenant_slugs": [slug]}
    identity = {"identity_provider": "authentik", "subject": f"{slug}-{number}"}
    await desk.mongo.db["people"].insert_one({**row, "identities": [identity], **changes})


async def test_seats_are_not_cut_below_what_is_taken(desk: Desk) -> None:
    slug = await desk.put()
    for number in range(4):
        await _seat(desk, slug, number)
    await _seat(desk, slug, 9, status="inactive")
    refused = await desk.call("PATCH", f"/api/tenants/{slug}", {"seats": 3}, tenant_person(slug, "admin"))
    assert (refused.status_code, refused.json()["code"]) == (409, "seats_in_use")
    assert "4 seats are taken" in refused.json()["detail"]
    assert (await desk.stored(slug))["seats"] == 10
    cut = await desk.call("PATCH", f"/api/tenants/{slug}", {"seats": 4}, tenant_person(slug, "admin"))
    assert (cut.status_code, cut.json()["seats"]) == (200, 4)


async def test_no_invitation_takes_a_seat_that_is_cut_in_the_same_instant(desk: Desk) -> None:
    """Without an identity provider an invitation is accepted and waits: its seat counts from the first moment on."""
    slugs = [await desk.put(seats=2) for _ in range(12)]
    for slug in slugs:
        await _seat(desk, slug, 0)

    async def race(slug: str) -> tuple[int, int]:
        body = {"email": f"new@{slug}.example", "name": "New"}
        invited, cut = await asyncio.gather(
            desk.call("POST", f"/api/tenants/{slug}/users", body),
            desk.call("PATCH", f"/api/tenants/{slug}", {"seats": 1}),
        )
        return invited.status_code, cut.status_code

    outcomes = [await race(slug) for slug in slugs]
    assert set(outcomes) <= {(202, 409), (409, 200)}, outcomes
    for slug in slugs:
        taken = await desk.mongo.db["people"].count_documents({"tenant_slugs": slug, "status": {"$ne": "inactive"}})
        assert taken <= (await desk.stored(slug))["seats"]
