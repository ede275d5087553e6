"""The end of a partner over HTTP: two services, two databases, events between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts.partner import PartnerTerminated, PartnerTerminationRefused
from shared.contracts.tenant import TenantTransferred
from shared.mongo import Mongo
from shared.testing import operator, partner_person
from tests.integration.ending import AT_PARTNER, AT_TENANT, Two, two_services
from tests.support.servers import TestDatabase
from tests.support.waiting import eventually


@pytest.fixture
async def two(service_environment: Any, mongo: Mongo, database: TestDatabase) -> AsyncIterator[Two]:
    async with two_services(service_environment, mongo, database.uri) as both:
        yield both


async def is_now(two: Two, slug: str, status: str) -> dict[str, Any]:
    """Wait until a partner has a status, and return it."""

    async def look() -> dict[str, Any] | None:
        shown = await two.partner(slug)
        return shown if shown["status"] == status else None

    found = await eventually(look)
    assert found is not None
    return found


async def test_a_partner_without_customers_ends_and_one_with_customers_goes_on(two: Two) -> None:
    await two.create_partners("nordic", "fjord")
    async with two.tenant_service() as tenants:
        await two.known("nordic", "fjord")
        await two.create_tenants(tenants, "nordic", "acme", "beta", "gamma")
        ended = await two.terminate("fjord", if_match='"1"', idempotency_key="k")
        assert (ended.status_code, ended.json()["status"], ended.headers["etag"]) == (200, "terminated", '"3"')
        assert ended.json()["termination"]["terminatedAt"] is not None
        refused = await two.terminate("nordic", idempotency_key="k")
        assert (refused.status_code, refused.json()["code"]) == (409, "partner_has_customers")
        assert "3 customers" in refused.json()["detail"]
        shown = await two.partner("nordic")
        assert (shown["status"], shown["version"], shown["termination"]) == ("active", 3, None)
        # It goes on: a tenant is created once the tenant service has heard of it.
        await two.known("nordic")
        await two.create_tenants(tenants, "nordic", "delta")
        late = {"slug": "late", "name": "Late", "plan": "business", "seats": 1}
        refusal = await tenants.post("/api/tenants", json=late, headers=AT_TENANT.headers(partner_person("fjord")))
        assert (refusal.status_code, refusal.json()["code"]) == (409, "partner_not_active")
    [over] = await two.told(two.partners, "partner.terminated.v1")
    assert PartnerTerminated.model_validate(over).state.status == "terminated"
    [goes_on] = await two.told(two.partners, "partner.termination_refused.v1")
    assert PartnerTerminationRefused.model_validate(goes_on).customers == 3


async def test_a_replay_shows_what_has_become_of_it_and_no_second_termination_begins(two: Two) -> None:
    await two.create_partners("nordic", "fjord")
    async with two.tenant_service() as tenants:
        await two.known("nordic", "fjord")
        await two.create_tenants(tenants, "nordic", "acme")
        for slug, status in (("fjord", 200), ("nordic", 409)):
            answers = [await two.terminate(slug, idempotency_key="k") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [status] * 3
            assert len({answer.json().get("detail", answer.text) for answer in answers}) == 1
            if status == 200:
                assert answers[1].headers["idempotency-replayed"] == "true"
        # What happens to the partner later does not change how that termination came out.
        await two.http.patch("/api/partners/nordic", json={"name": "N"}, headers=AT_PARTNER.headers(operator()))
        assert (await two.terminate("nordic", idempotency_key="k")).status_code == 409
        other = await two.terminate("nordic", "fjord", idempotency_key="k")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await two.told(two.partners, "partner.termination_started.v1")) == 2
    assert (await two.terminate("fjord")).status_code == 200
    assert (await two.terminate("fjord", if_match='"1"')).status_code == 412


async def test_while_the_tenant_service_is_away_the_partner_is_terminating_and_events_finish_it(
    service_environment: Any, mongo: Mongo, database: TestDatabase
) -> None:
    async with two_services(service_environment, mongo, database.uri, wait=0.1) as two:
        await two.create_partners("nordic")
        waiting = await two.terminate("nordic", idempotency_key="k")
        assert (waiting.status_code, waiting.json()["status"], waiting.headers["etag"]) == (202, "terminating", '"2"')
        again = await two.terminate("nordic", idempotency_key="k")
        assert (again.status_code, again.json()) == (202, waiting.json())
        by_operator = AT_PARTNER.headers(operator())
        for method, path, body in (
            ("PATCH", "", {"name": "Other"}),
            ("POST", "/suspend", {"reason": "unpaid"}),
            ("POST", "/resume", None),
            ("POST", "/terminate", {"transferTo": "fjord"}),
        ):
            refused = await two.http.request(method, f"/api/partners/nordic{path}", json=body, headers=by_operator)
            assert (refused.status_code, refused.json()["code"]) == (409, "wrong_status"), path
        async with two.tenant_service():
            await is_now(two, "nordic", "terminated")
            assert (await two.terminate("nordic", idempotency_key="k")).status_code == 200


async def test_customers_pass_to_another_partner_one_event_each_and_keep_their_history(two: Two) -> None:
    slugs = [f"customer-{number}" for number in range(7)]
    await two.create_partners("nordic", "fjord", "baltic")
    async with two.tenant_service() as tenants:
        await two.known("nordic", "fjord", "baltic")
        await two.create_tenants(tenants, "nordic", *slugs)
        await two.create_tenants(tenants, "baltic", "elsewhere")
        now = datetime.now(UTC)
        leaving = {"requested_at": now, "reason": None, "erase_after": now + timedelta(days=30)}
        await _set(two, slugs[0], status="deleting", deletion={**leaving, "restores_to": "active"})
        await _set(two, slugs[1], status="deleted")
        await _set(two, slugs[2], partner=None)
        moved = [slugs[0], *slugs[3:]]
        ended = await two.terminate("nordic", "fjord")
        assert (ended.status_code, ended.json()["termination"]["transferTo"]) == (200, "fjord")
        owners = await two.owners()
        assert {slug for slug, owner in owners.items() if owner == "fjord"} == set(moved)
        # Deleted tenants stay where they were, detached ones belong to nobody, others are left alone.
        assert (owners[slugs[1]], owners[slugs[2]], owners["elsewhere"]) == ("nordic", None, "baltic")
        events = [TenantTransferred.model_validate(e) for e in await two.told(two.tenants, "tenant.transferred.v1")]
        assert [(e.state.slug, e.from_partner, e.to_partner, e.version) for e in events] == [
            (slug, "nordic", "fjord", 2) for slug in moved
        ]
        for event in events:
            first, second = event.state.ownership
            assert (first.partner, second.partner, second.until) == ("nordic", "fjord", None)
            assert first.until == second.since
            assert first.since < second.since
        [answer] = await two.told(two.tenants, "tenant.partner_answered.v1")
        assert (answer["customers"], answer["partnerVersion"]) == (0, 2)
        assert await two.tenants.db["partner_moves"].count_documents({}) == 0


async def _set(two: Two, slug: str, **fields: Any) -> None:
    await two.tenants.db["tenants"].update_one({"slug": slug}, {"$set": fields})


async def test_who_takes_over_must_be_another_partner_that_is_active(two: Two) -> None:
    await two.create_partners("nordic", "fjord")
    headers = AT_PARTNER.headers(operator())
    await two.http.post("/api/partners/fjord/suspend", json={"reason": "unpaid"}, headers=headers)
    for target, status, code in (
        ("nordic", 422, "same_partner"),
        ("nobody", 422, "no_such_partner"),
        ("fjord", 409, "transfer_target_not_active"),
        ("", 422, "string_too_short"),
    ):
        refused = await two.terminate("nordic", target)
        problem = refused.json()
        found = problem["errors"][0]["code"] if "errors" in problem else problem["code"]
        assert (refused.status_code, found) == (status, code), target
    assert (await two.partner("nordic"))["version"] == 1
    assert await two.told(two.partners, "partner.termination_started.v1") == []


async def test_a_suspended_partner_takes_no_tenants_and_a_refused_end_leaves_it_suspended(two: Two) -> None:
    await two.create_partners("nordic")
    headers = AT_PARTNER.headers(operator())
    async with two.tenant_service() as tenants:
        await two.known("nordic")
        await two.create_tenants(tenants, "nordic", "acme")
        suspended = await two.http.post("/api/partners/nordic/suspend", json={"reason": "unpaid"}, headers=headers)
        assert (suspended.json()["status"], suspended.json()["suspendedReason"]) == ("suspended", "unpaid")

        async def refuses() -> bool:
            body = {"slug": "beta", "name": "Beta", "plan": "business", "seats": 5}
            staff = AT_TENANT.headers(partner_person("nordic"))
            answer = await tenants.post("/api/tenants", json=body, headers=staff)
            return answer.status_code == 409 and bool(answer.json()["code"] == "partner_not_active")

        await eventually(refuses)
        assert (await two.terminate("nordic")).status_code == 409
        assert (await two.partner("nordic"))["status"] == "suspended"
        resumed = await two.http.post("/api/partners/nordic/resume", headers=headers)
        assert (resumed.json()["status"], resumed.json()["suspendedReason"]) == ("active", None)
        await two.known("nordic")
        await two.create_tenants(tenants, "nordic", "gamma")
    assert [e["reason"] for e in await two.told(two.partners, "partner.suspended.v1")] == ["unpaid"]
    assert len(await two.told(two.partners, "partner.resumed.v1")) == 1
