"""Invitations that are interrupted: by a slow provider, a lost answer, a kill, or each other."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from services.tenant.people.models import Identity
from services.tenant.people.repository import InviteInProgress
from shared.mongo import Mongo
from shared.testing import operator, partner_person
from tests.sandbox.authentik.process import StandIn
from tests.support.waiting import eventually
from tests.tenant.people import CALLERS, House, process, provider, ready, running

OWNER = partner_person("nordic", "owner")


@pytest.fixture
async def nordic(house: House) -> House:
    await house.partner("nordic")
    return house


async def test_a_slow_provider_leaves_the_invitation_pending_and_the_worker_finishes_it(nordic: House) -> None:
    nordic.fault(effect="error", pathPrefix="/api/v3/core/users/")
    reply = await nordic.invite("/api/partners/nordic/users", OWNER, "anna", headers={"idempotency_key": "k1"})
    assert (reply.status_code, reply.json()["status"]) == (202, "pending")
    (seen,) = await nordic.listed("/api/partners/nordic/users")
    assert (seen["status"], seen["pending"]) == ("inviting", {"reason": "authentik_unavailable"})
    nordic.heal()

    async def finished() -> bool:
        (row,) = await nordic.listed("/api/partners/nordic/users")
        return (row["status"], row["pending"]) == ("invited", None)

    await eventually(finished)
    (event,) = await nordic.events("platform.user_invited.v1")
    assert (event["handoff"], event["actor"]["id"]) == ("none", OWNER.id)
    resend = await nordic.http.post(
        f"/api/users/{reply.json()['userId']}/resend-invite", headers=CALLERS.headers(OWNER)
    )
    assert (resend.status_code, resend.json()["handoff"]) == (201, "temp-password")


async def test_nobody_is_made_known_for_a_tenant_that_is_being_deleted_until_it_is_restored(nordic: House) -> None:
    await nordic.tenant("ending")
    nordic.fault(effect="error", pathPrefix="/api/v3/core/users/")
    assert (await nordic.invite("/api/tenants/ending/users", OWNER, "bea")).status_code == 202
    tenants, tasks = nordic.mongo.db["tenants"], nordic.mongo.db["people_tasks"]
    await tenants.update_one({"slug": "ending"}, {"$set": {"status": "deleting"}})
    nordic.heal()

    async def waits() -> bool:
        (row,) = await nordic.listed("/api/tenants/ending/users")
        return bool(row["pending"] == {"reason": "wrong_status"})

    await eventually(waits)
    assert nordic.accounts("bea") == []
    await tenants.update_one({"slug": "ending"}, {"$set": {"status": "active"}})
    await tasks.update_many({"state": "open"}, [{"$set": {"next_at": "$$NOW"}}])

    async def finished() -> bool:
        (row,) = await nordic.listed("/api/tenants/ending/users")
        return bool(row["status"] == "invited")

    await eventually(finished)
    assert len(nordic.accounts("bea")) == 1


async def test_a_lost_answer_to_the_creation_makes_no_twin(nordic: House) -> None:
    nordic.fault(effect="lose_reply", method="POST", pathPrefix="/api/v3/core/users/", count=1)
    reply = await nordic.invite("/api/partners/nordic/users", OWNER, "anna")
    assert reply.status_code == 202
    assert len(nordic.accounts("anna")) == 1

    async def finished() -> bool:
        return bool((await nordic.stored(reply.json()["userId"]))["status"] == "invited")

    await eventually(finished)
    assert len(nordic.accounts("anna")) == 1
    assert nordic.groups_of("anna") == ["dezky-partner-staff"]


async def test_a_process_that_is_killed_after_the_account_was_made_is_followed_without_a_twin(
    service_environment: Any, mongo: Mongo, authentik: StandIn
) -> None:
    environment = service_environment("tenant", **provider(authentik))
    async with process(environment) as (child, url), httpx.AsyncClient(base_url=url) as http:
        house = House(http, mongo, authentik, "killed.example")
        await eventually(lambda: ready(http), seconds=30)
        await house.partner("nordic")
        house.fault(effect="delay", pathPrefix="/api/v3/core/groups/", latencyMs=60_000)
        asking = asyncio.create_task(house.invite("/api/partners/nordic/users", OWNER, "anna"))
        await eventually(lambda: _exists(house, "anna"))
        child.kill()
        with pytest.raises(httpx.TransportError):
            await asking
    house.heal()
    (row,) = await mongo.db["people"].find().to_list()
    assert (row["status"], row["identities"]) == ("inviting", [])
    # The dead process holds the task for fifteen seconds: let them be over.
    await mongo.db["people_tasks"].update_many({}, [{"$set": {"until": "$$NOW"}}])
    async with running(environment, mongo, authentik):

        async def finished() -> bool:
            return bool((await house.stored(row["_id"]))["status"] == "invited")

        await eventually(finished)
    account = house.account("anna")  # exactly one
    assert (await house.stored(row["_id"]))["identities"][0]["subject"] == account["uid"]
    assert house.groups_of("anna") == ["dezky-partner-staff"]


async def _exists(house: House, name: str) -> bool:
    return bool(house.accounts(name))


async def test_without_a_provider_invitations_wait_and_say_so(
    service_environment: Any, mongo: Mongo, authentik: StandIn
) -> None:
    async with running(service_environment("tenant"), mongo, authentik) as house:
        await house.partner("nordic")
        reply = await house.invite("/api/partners/nordic/users", operator(), "anna")
        assert (reply.status_code, reply.json()) == (202, {**reply.json(), "status": "pending"})
        (seen,) = await house.listed("/api/users")
        assert (seen["status"], seen["pending"]) == ("inviting", {"reason": "authentik_not_configured"})
        resend = await house.http.post(f"/api/users/{seen['id']}/resend-invite", headers=CALLERS.headers(operator()))
        assert (resend.status_code, resend.json()["code"]) == (409, "not_invited")


async def test_the_same_address_twice_at_once_is_one_person(nordic: House) -> None:
    await nordic.tenant("acme")
    replies = await asyncio.gather(
        *(nordic.invite(f"/api/{place}/users", operator(), "anna") for place in ("partners/nordic", "tenants/acme"))
    )
    assert 201 in {reply.status_code for reply in replies}
    assert {reply.status_code for reply in replies} <= {201, 409}
    assert await nordic.mongo.db["people"].count_documents({}) == 1
    assert len(nordic.accounts("anna")) == 1


async def test_two_invitations_of_one_address_cannot_both_be_recorded(house: House) -> None:
    await house.human("anna", status="inviting", identities=())
    with pytest.raises(InviteInProgress):
        await house.human("anna", status="inviting", identities=(), email=house.address("ANNA"))


async def test_a_person_whose_account_was_seen_first_at_sign_in_is_not_doubled(nordic: House) -> None:
    """Somebody signs in between the creation of the account and our record of it."""
    nordic.fault(effect="error", pathPrefix="/api/v3/core/groups/")
    reply = await nordic.invite("/api/partners/nordic/users", OWNER, "anna")
    assert reply.status_code == 202
    met = await nordic.human("anna", identities=(Identity("authentik", nordic.account("anna")["uid"]),))
    nordic.heal()

    async def finished() -> bool:
        return bool((await nordic.stored(met.id))["partner"] == {"slug": "nordic", "role": "owner"})

    await eventually(finished)
    assert await nordic.mongo.db["people"].count_documents({}) == 1
