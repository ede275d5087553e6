"""Suspending and ending a partner as this service alone sees it: transitions, and answers that come late or twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.partner.models import Partner, WrongStatus, new_contract
from shared.contracts.partner import MarginState, PartnerStatus
from shared.mongo import Mongo
from shared.testing import partner_person, tenant_person
from tests.partner.conftest import serving
from tests.partner.examples import CALLERS, FJORD, NORDIC, by_operator, create
from tests.partner.hearing import Ear, answered

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATH = "/api/partners/nordic"


@pytest.fixture
async def client(service_environment: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody answers here but the tests, so no request waits."""

    def impatient(name: str, **more: Any) -> Any:
        return service_environment(name, termination_wait_seconds=0, **more)

    async with serving(impatient) as http:
        await create(http, NORDIC, FJORD)
        yield http


def partner(status: PartnerStatus) -> Partner:
    contract = new_contract("2026-01-01", 12, [MarginState(since="2026-01-01", margin_bps=1)])
    made = Partner("p1", "nordic", "Nordic", contract, "active", NOW, NOW)
    if status == "suspended":
        return made.suspend("unpaid", NOW)
    if status == "active":
        return made
    begun = made.terminate(None, NOW)
    return begun if status == "terminating" else begun.end(0, NOW)


# From the specification: active ⇄ suspended; either → terminating → terminated, or back to what it was.
TRANSITIONS: dict[PartnerStatus, dict[str, str]] = {
    "active": {"suspend": "suspended", "resume": "=", "terminate": "terminating", "end": "refused"},
    "suspended": {"suspend": "=", "resume": "active", "terminate": "terminating", "end": "refused"},
    "terminating": {"suspend": "refused", "resume": "refused", "terminate": "=", "end": "terminated"},
    "terminated": {"suspend": "refused", "resume": "refused", "terminate": "=", "end": "refused"},
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {"suspend": ("why",), "resume": (), "terminate": (None,), "end": (0,)}


@pytest.mark.unit
@pytest.mark.parametrize("status", list(TRANSITIONS))
def test_every_transition_from_every_status_does_what_the_table_says(status: PartnerStatus) -> None:
    for name, expected in TRANSITIONS[status].items():
        before = partner(status)
        if expected == "refused":
            with pytest.raises(WrongStatus):
                getattr(before, name)(*ARGUMENTS[name], NOW)
            continue
        after = getattr(before, name)(*ARGUMENTS[name], NOW)
        assert (after is before) == (expected == "=")
        assert after.status == (status if expected == "=" else expected)
        assert after.version == before.version + (after is not before)


@pytest.mark.unit
def test_a_refused_end_gives_back_the_status_that_was_before() -> None:
    for status in ("active", "suspended"):
        before = partner(status)  # type: ignore[arg-type]
        after = before.terminate(None, NOW).end(3, NOW)
        assert (after.status, after.termination, after.suspended_reason) == (status, None, before.suspended_reason)


async def terminate(client: httpx.AsyncClient, **headers: str) -> int:
    answer = await client.post(f"{PATH}/terminate", json={}, headers=by_operator(**headers))
    return answer.status_code


async def test_an_answer_to_an_earlier_termination_ends_nothing(client: httpx.AsyncClient, mongo: Mongo) -> None:
    ear = Ear(mongo)
    assert await terminate(client, idempotency_key="first") == 202
    await ear.hear(answered("nordic", 2, 3, NOW))
    assert await terminate(client, idempotency_key="second") == 202
    stale, unasked = answered("nordic", 2, 0, NOW), answered("fjord", 1, 0, NOW)
    await ear.hear(stale, unasked, answered("nobody", 1, 0, NOW))
    statuses = {row["slug"]: row["status"] async for row in mongo.db["partners"].find()}
    assert statuses == {"nordic": "terminating", "fjord": "active"}
    current = answered("nordic", 4, 0, NOW)
    await ear.hear(current)
    await ear.hear({**current, "id": "said again"}, answered("nordic", 4, 9, NOW))
    shown = (await client.get(PATH, headers=by_operator())).json()
    assert (shown["status"], shown["version"]) == ("terminated", 5)
    # Each request is shown what has become of the termination that it began.
    assert (await terminate(client, idempotency_key="first"), await terminate(client, idempotency_key="second")) == (
        409,
        200,
    )
    told = mongo.db["outbox"].find({"type": {"$regex": "^partner.terminat"}}).sort("_id", 1)
    assert [row["type"].split(".")[1] async for row in told] == [
        "termination_started",
        "termination_refused",
        "termination_started",
        "terminated",
    ]


async def test_ending_a_partner_honours_the_version_that_was_read(client: httpx.AsyncClient, mongo: Mongo) -> None:
    for path, body in (("suspend", {"reason": "x"}), ("resume", None), ("terminate", {})):
        refused = await client.post(f"{PATH}/{path}", json=body, headers=by_operator(if_match='"7"'))
        assert (refused.status_code, refused.json()["code"]) == (412, "stale_version")
    assert await terminate(client, if_match='"1"') == 202


async def test_only_operators_suspend_resume_and_terminate(client: httpx.AsyncClient, mongo: Mongo) -> None:
    before = await mongo.db["partners"].find().to_list()
    for path, body in (("suspend", {"reason": "x"}), ("resume", None), ("terminate", {"transferTo": "fjord"})):
        for caller, status, code in (
            (partner_person("nordic", "owner"), 403, "operator_token_required"),
            (partner_person("nordic", "owner", surface="operator"), 403, "insufficient_role"),
            (partner_person("fjord", "owner", surface="operator"), 404, "not_found"),
            (tenant_person("acme"), 404, "not_found"),
        ):
            refused = await client.post(f"{PATH}/{path}", json=body, headers=CALLERS.headers(caller))
            assert (refused.status_code, refused.json()["code"]) == (status, code), path
        missing = await client.post(f"/api/partners/nobody/{path}", json=body, headers=by_operator())
        assert missing.status_code == 404
    assert await mongo.db["partners"].find().to_list() == before
