"""Invitations that cannot be: each a clear refusal, and nothing changed anywhere."""

from __future__ import annotations

from typing import Any

from shared.contracts.user import PartnerRoleState
from shared.testing import operator, partner_person
from tests.support.waiting import eventually
from tests.tenant.people import CALLERS, House

OWNER = partner_person("nordic", "owner")
ADDRESSES = [
    "anna@acme.example\n",  # trimmed elsewhere, a header of its own in a mail
    "anna\n@acme.example",
    "anna@acme.example\r\nBcc: all@acme.example",
    "\tanna@acme.example",
    "anna@\u0430cme.example",  # a Cyrillic a
    "\u0430nna@acme.example",
    "anna@\uff41cme.example",  # a fullwidth a
    "anna@acm\u00e9.example",  # a real domain, whose ASCII form is xn--acm-dma.example
    "anna@ac\u200bme.example",  # a zero-width space
    "anna@ac\u00adme.example",  # a soft hyphen
    "anna@xn--a.example",  # is the A-label of nothing (RFC 5891)
    "anna@acme.example.",
    "anna@127.0.0.1",
    "anna@localhost",
    "anna@-acme.example",
    "anna@@acme.example",
    "anna",
    "@acme.example",
    f"{'a' * 65}@acme.example",
    f"anna@{'a' * 64}.example",
    "",
]


async def everything(house: House) -> dict[str, int]:
    db = house.mongo.db
    names = ("people", "people_tasks", "outbox", "usage", "idempotency")
    return {name: await db[name].count_documents({}) for name in names}


async def test_an_address_that_is_none_or_looks_like_another_is_refused(house: House) -> None:
    await house.tenant("acme")
    before = await everything(house)
    for path, more in (
        ("/api/tenants/acme/users", {}),
        ("/api/partners/nordic/users", {}),
        ("/api/users/invite", {"operator": True}),
    ):
        for address in ADDRESSES:
            body: dict[str, Any] = {"email": address, "name": "Anna", **more}
            headers = CALLERS.headers(operator(), idempotency_key="k1")
            reply = await house.http.post(path, json=body, headers=headers)
            assert reply.status_code == 422, address
            assert [error["field"] for error in reply.json()["errors"]] == ["email"], address
    assert await everything(house) == before
    fine = {"email": "anna@xn--acm-dma.example", "name": "Anna"}
    reply = await house.http.post("/api/tenants/acme/users", json=fine, headers=CALLERS.headers(OWNER))
    assert reply.status_code == 201


async def test_whoever_cannot_be_invited_is_named_by_a_code_and_stays_as_they_are(house: House) -> None:
    await house.tenant("acme")
    members = {"acme": "member"}
    away = {"globex": "member"}
    people = {
        "member": (await house.human("member", tenants=members), "already_a_member"),
        "inactive": (await house.human("inactive", status="inactive"), "person_inactive"),
        "leaver": (await house.human("leaver", status="inactive", tenants=away), "person_inactive"),
        "late": (await house.human("late", status="expired", tenants=away), "invitation_expired"),
        "again": (await house.human("again", status="expired", tenants=members), "already_a_member"),
        "waits": (await house.human("waits", status="inviting", identities=(), tenants=away), "invite_in_progress"),
        "twice": (await house.human("twice"), "identity_conflict"),
    }
    await house.human("twin", email=house.address("TWICE"))
    before = await everything(house)
    for name, (human, code) in people.items():
        reply = await house.invite("/api/tenants/acme/users", OWNER, name)
        assert (reply.status_code, reply.json()["code"]) == (409, code), name
        row = await house.stored(human.id)
        assert (row["version"], row["status"], row["tenants"]) == (1, human.status, human.tenants)
    assert await everything(house) == before
    other = await house.human("other", partner=PartnerRoleState(slug="fjord", role="staff"))
    refused = await house.invite("/api/partners/nordic/users", OWNER, "other")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_another_partner")
    assert (await house.stored(other.id))["version"] == 1


async def test_somebody_erased_is_invited_as_somebody_new(house: House) -> None:
    await house.tenant("acme")
    made = (await house.invite("/api/tenants/acme/users", OWNER, "anna")).json()
    assert (await house.call("POST", f"/api/users/{made['userId']}/erase")).status_code == 200

    async def gone() -> bool:
        return house.accounts("anna") == []

    await eventually(gone)
    again = await house.invite("/api/tenants/acme/users", OWNER, "anna")
    assert again.status_code == 201
    assert again.json()["userId"] != made["userId"]
    assert again.json()["handoff"] == "temp-password"


async def test_somebody_who_moves_between_tenants_stays_one_person(house: House) -> None:
    await house.tenant("acme")
    await house.tenant("globex")
    made = (await house.invite("/api/tenants/acme/users", OWNER, "anna")).json()
    await house.sign_in(made["subject"], "anna")
    assert (await house.call("DELETE", f"/api/tenants/acme/users/{made['userId']}")).status_code == 204
    moved = await house.invite("/api/tenants/globex/users", OWNER, "anna", role="admin")
    assert (moved.status_code, moved.json()["userId"], moved.json()["handoff"]) == (201, made["userId"], "existing")
    assert (await house.seats("acme"), await house.seats("globex")) == ((0, 0), (1, 1))
    assert (await house.stored(made["userId"]))["tenants"] == {"globex": "admin"}
    assert len(house.accounts("anna")) == 1
