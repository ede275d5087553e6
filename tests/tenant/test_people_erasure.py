"""Erasing people: what is left of them in our records, in what was said of them, and at the identity provider."""

from __future__ import annotations

import asyncio
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from services.tenant.people.erasure.repository import Traces
from services.tenant.people.models import Human, Identity
from shared.clock import SystemClock
from shared.contracts.envelope import Actor
from shared.contracts.registry import contract_for
from shared.contracts.user import PartnerRoleState, UserRegistered
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox
from shared.testing import operator, partner_person, tenant_person
from tests.support.waiting import eventually
from tests.tenant.people import House, owner_of

OWNER = partner_person("nordic", "owner")
ADMIN = tenant_person("acme", "admin")


def documents(database: Any) -> list[tuple[str, bytes]]:
    """Every document of the service's database as the bytes that are stored."""
    root: MongoClient[RawBSONDocument]
    with MongoClient(database.uri, document_class=RawBSONDocument) as root:
        db = root[database.name]
        return [(name, row.raw) for name in db.list_collection_names() for row in db[name].find()]


async def settled(house: House, person: str) -> None:
    """Wait until the account was seen to, and let the time until the last look be over."""

    async def waits() -> bool:
        row = await house.mongo.db["people_tasks"].find_one({"_id": f"erase:{person}"})
        return row is not None and row["reason"] == "last_look_later"

    await eventually(waits)
    past = [{"$set": {"created_at": {"$subtract": ["$$NOW", 600_000]}, "next_at": "$$NOW"}}]
    await house.mongo.db["people_tasks"].update_one({"_id": f"erase:{person}"}, past)

    async def done() -> bool:
        return bool(await house.mongo.db["people_tasks"].find_one({"_id": f"erase:{person}", "state": "done"}))

    await eventually(done)


async def erase(house: House, person: str, **headers: str) -> dict[str, Any]:
    reply = await house.call("POST", f"/api/users/{person}/erase", operator(), **headers)
    assert reply.status_code == 200, reply.text
    said: dict[str, Any] = reply.json()
    return said


async def known(house: House, name: str, **changes: Any) -> Human:
    account = house.make_account(name)
    identity = Identity("authentik", account["uid"])
    return await house.human(name, identities=(identity,), account=account["pk"], **changes)


async def test_nothing_of_an_erased_person_is_in_any_collection_or_log(
    house: House, database: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    await house.tenant("acme")
    await house.human("boss", tenants={"acme": "admin"})
    headers = {"idempotency_key": "k1"}
    made = (await house.invite("/api/tenants/acme/users", ADMIN, "wilhelmina", role="admin", headers=headers)).json()
    await house.sign_in(made["subject"], "wilhelmina")
    me = tenant_person("acme", "admin", id=made["userId"], email=house.address("wilhelmina"), name="Wilhelmina")
    billing = {"contact": house.address("Wilhelmina"), "company": "Acme", "address": None}
    mine = {"caller": me, "body": {"billing": billing}}
    assert (await house.call("PATCH", "/api/tenants/acme", **mine)).status_code == 200
    assert (await house.invite("/api/tenants/acme/users", me, "bert")).status_code == 201
    off = await house.call("POST", f"/api/users/{made['userId']}/deactivate", idempotency_key="k2")
    on = await house.call("POST", f"/api/users/{made['userId']}/reactivate", idempotency_key="k3")
    assert (off.status_code, on.status_code) == (200, 200)
    needles = [b"wilhelmina", made["subject"].encode()]
    assert {name for name, raw in documents(database) if needles[0] in raw.lower()} >= {
        "people",
        "outbox",
        "idempotency",
        "tenants",
    }
    said = await erase(house, made["userId"], idempotency_key="k4", if_match='"5"')
    assert (said["status"], said["email"], said["name"], said["version"]) == ("erased", "", "", 6)
    assert (said["tenants"], said["partner"], said["platformAdmin"], said["active"]) == ({}, None, False, False)
    # At once: whatever names them.
    assert [name for name, raw in documents(database) if needles[0] in raw.lower()] == []
    await settled(house, made["userId"])
    left = documents(database)
    assert [(name, needle) for name, raw in left for needle in needles if needle in raw.lower()] == []
    assert house.accounts("wilhelmina") == []
    printed = capfd.readouterr()
    assert "request" in printed.out
    assert "wilhelmina" not in (printed.out + printed.err).lower()

    events = [bson.decode(raw) for name, raw in left if name == "outbox"]
    for row in events:  # what is left still keeps its contract
        contract = contract_for(row["type"])
        assert contract is not None
        contract.model_validate(row["envelope"]["data"])
    (erased,) = await house.events("user.erased.v1")
    assert erased["resource"] == {
        "type": "user",
        "id": made["userId"],
        "name": None,
        "tenantSlug": None,
        "partnerSlug": None,
    }
    assert (erased["version"], set(erased)) == (6, {"actor", "action", "outcome", "resource", "version"})
    # Whoever acted on them, and on whom they acted, is still named.
    (deactivated,) = await house.events("user.deactivated.v1")
    assert (deactivated["actor"]["email"], deactivated["state"]["email"]) == (operator().email, None)
    invited = [event for event in await house.events("platform.user_invited.v1") if event["actor"]["id"] == me.id]
    assert [(event["actor"]["email"], event["state"]["name"]) for event in invited] == [(None, "Bert")]
    tenant = (await house.call("GET", "/api/tenants/acme")).json()
    assert (tenant["billing"]["contact"], tenant["billing"]["company"]) == (None, "Acme")
    assert await house.seats("acme") == (2, 2)
    replay = await house.invite("/api/tenants/acme/users", ADMIN, "wilhelmina", role="admin", headers=headers)
    assert (replay.status_code, replay.json()["userId"]) == (201, made["userId"])  # and nobody is invited again
    assert house.accounts("wilhelmina") == []


async def test_what_was_not_told_yet_is_still_told(mongo: Mongo) -> None:
    outbox = Outbox(mongo, "tenant", SystemClock())
    house = House(None, mongo, None, "quiet.example")  # type: ignore[arg-type]
    anna = await house.human("anna")
    actor = Actor(type="user", id=anna.id, email=anna.email, ip="198.51.100.9", surface="portal")
    state = {
        "id": anna.id,
        "email": anna.email,
        "name": anna.name,
        "platform_admin": False,
        "partner": None,
        "tenants": {},
        "status": "active",
        "created_at": anna.created_at,
        "version": 1,
    }
    resource = {"type": "user", "id": anna.id, "name": anna.name}
    changes = {"email": {"before": None, "after": anna.email}}
    event = UserRegistered.model_validate(
        {"actor": actor, "resource": resource, "version": 1, "state": state, "changes": changes}
    )

    async def body(tx: Transaction) -> None:
        await outbox.add(tx, event)

    await mongo.transactions.run(body)
    await Traces(mongo).forget([anna.id])
    (row,) = await mongo.db["outbox"].find().to_list()
    data = row["envelope"]["data"]
    assert row["pending"] is True
    assert (data["actor"]["email"], data["actor"]["ip"], data["actor"]["surface"]) == (None, None, "portal")
    assert (data["resource"]["name"], data["state"]["email"], data["changes"]["email"]["after"]) == (None, None, None)
    assert (data["state"]["status"], data["state"]["id"]) == ("active", anna.id)


async def test_erasing_is_refused_for_the_last_and_for_another_version_and_done_once(house: House) -> None:
    await house.tenant("acme")
    last = {
        "last_operator": await house.human("olga", platform_admin=True),
        "last_owner": await house.human("owen", partner=owner_of("nordic")),
        "last_admin": await house.human("adam", tenants={"acme": "admin"}),
    }
    for code, human in last.items():
        refused = await house.call("POST", f"/api/users/{human.id}/erase")
        assert (refused.status_code, refused.json()["code"]) == (409, code)
        assert (await house.stored(human.id))["version"] == 1
    anna = await known(house, "anna", tenants={"acme": "member"}, partner=PartnerRoleState(slug="nordic", role="staff"))
    path = f"/api/users/{anna.id}"
    stale = await house.call("POST", f"{path}/erase", if_match='"7"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    first = await erase(house, anna.id, idempotency_key="k1")
    assert await erase(house, anna.id, idempotency_key="k1") == first
    assert (await erase(house, anna.id))["version"] == first["version"] == 2
    assert len(await house.events("user.erased.v1")) == 1
    codes = [
        (await house.call("POST", f"{path}/{verb}")).json()["code"]
        for verb in ("deactivate", "reactivate", "resend-invite")
    ]
    assert codes == ["person_erased", "person_erased", "not_invited"]
    assert (await house.call("GET", path)).json()["status"] == "erased"
    assert anna.id not in [row["id"] for row in await house.listed("/api/users")]
    assert (await house.call("POST", "/api/users/nobody/erase")).status_code == 404


async def test_of_two_owners_erased_at_once_one_remains(house: House) -> None:
    await house.partner("nordic")
    pair = [await house.human(name, partner=owner_of("nordic")) for name in ("one", "two")]
    replies = await asyncio.gather(*(house.call("POST", f"/api/users/{human.id}/erase") for human in pair))
    assert sorted(reply.status_code for reply in replies) == [200, 409]


async def test_a_lost_answer_to_the_removal_is_looked_after(house: House) -> None:
    await house.human("other", platform_admin=True)
    made = (await house.invite("/api/users/invite", operator(), "anna")).json()
    house.fault(effect="lose_reply", method="DELETE", pathPrefix="/api/v3/core/users/", count=1)
    await erase(house, made["userId"])
    await settled(house, made["userId"])
    assert house.accounts("anna") == []


async def test_an_account_that_somebody_had_before_leaves_our_groups_and_stays(house: House) -> None:
    await house.partner("nordic")
    await house.human("boss", partner=owner_of("nordic"))
    house.make_account("anna")
    made = (await house.invite("/api/partners/nordic/users", OWNER, "anna")).json()
    assert house.groups_of("anna") == ["dezky-partner-staff"]
    await erase(house, made["userId"])
    await settled(house, made["userId"])
    assert (house.groups_of("anna"), house.account("anna")["is_active"]) == ([], True)


async def test_the_account_of_an_invitation_that_was_never_recorded_goes_too(house: House) -> None:
    await house.tenant("acme")
    house.fault(effect="lose_reply", method="POST", pathPrefix="/api/v3/core/users/", count=1)
    made = await house.invite("/api/tenants/acme/users", ADMIN, "anna")
    house.fault(effect="error", method="GET", pathPrefix="/api/v3/core/users/")
    assert made.status_code == 202
    await erase(house, made.json()["userId"])
    house.heal()
    await settled(house, made.json()["userId"])
    assert house.accounts("anna") == []
    assert await house.events("platform.user_invited.v1") == []


async def test_an_account_that_cannot_be_found_out_keeps_the_person(house: House) -> None:
    account = house.make_account("anna")
    anna = await house.human("anna", identities=(Identity("authentik", account["uid"]),))
    house.fault(effect="error", pathPrefix="/api/v3/core/users/")
    refused = await house.call("POST", f"/api/users/{anna.id}/erase")
    assert (refused.status_code, refused.json()["code"]) == (503, "authentik_unavailable")
    assert (await house.stored(anna.id))["status"] == "active"
    house.heal()
    await erase(house, anna.id)


async def test_the_same_identity_is_somebody_new_and_no_operator_before_their_tokens_end(house: House) -> None:
    await house.human("other", platform_admin=True)
    anna, olga = await known(house, "anna"), await known(house, "olga", platform_admin=True)
    for human in (anna, olga):
        await erase(house, human.id)
    new = await house.sign_in(anna.identities[0].subject, "anna")
    assert (new["active"], new["id"] == anna.id) == (True, False)
    subject = olga.identities[0].subject
    refused = await house.sign_in(subject, "olga", "dezky-platform-admins")
    assert (refused["id"], refused["active"], refused["platformAdmin"]) == (olga.id, False, False)
    over = [{"$set": {"until": "$$NOW"}}]
    await house.mongo.db["people_refused"].update_many({}, over)
    later = await house.sign_in(subject, "olga")
    assert (later["active"], later["id"] == olga.id) == (True, False)
