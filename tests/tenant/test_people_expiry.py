"""Invitations that nobody takes up: when they end, what that frees and voids, and how they begin anew."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from services.tenant.people.expiry import Expiry
from services.tenant.people.records import Records
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.usage.book import UsageBook
from services.tenant.usage.repository import UsageRepository
from shared.clock import SystemClock
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.testing import operator, partner_person, tenant_person
from tests.sandbox.authentik.process import StandIn
from tests.support.waiting import eventually
from tests.tenant.people import House, owner_of, provider, running

OWNER = partner_person("nordic", "owner")
ADMIN = tenant_person("acme", "admin")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def time_is_over(house: House, *people: str) -> None:
    await house.mongo.db["people"].update_many(
        {"_id": {"$in": list(people)}}, {"$set": {"invite_expires_at": LONG_AGO}}
    )


async def has_status(house: House, person: str, status: str) -> bool:
    return bool((await house.stored(person))["status"] == status)


async def ended(house: House, person: str) -> None:
    await time_is_over(house, person)
    await eventually(lambda: has_status(house, person, "expired"))


async def account_is(house: House, name: str, *, active: bool) -> None:
    async def look() -> bool:
        return house.account(name)["is_active"] is active

    await eventually(look)


async def test_an_invitation_that_nobody_takes_up_ends_and_begins_anew(house: House) -> None:
    await house.tenant("acme", seats=1)
    made = (await house.invite("/api/tenants/acme/users", ADMIN, "anna")).json()
    anna, path = made["userId"], f"/api/users/{made['userId']}/resend-invite"
    (seen,) = await house.listed("/api/tenants/acme/users", ADMIN)
    until = datetime.fromisoformat(seen["inviteExpiresAt"])
    assert abs(until - datetime.now(UTC) - timedelta(days=14)) < timedelta(minutes=5)

    await ended(house, anna)
    await account_is(house, "anna", active=False)
    (event,) = await house.events("user.invite_expired.v1")
    assert (event["actor"]["type"], event["state"]["status"], event["version"]) == ("system", "expired", 3)
    assert event["changes"]["status"] == {"before": "invited", "after": "expired"}
    assert event["resource"]["tenantSlug"] == "acme"
    assert await house.seats("acme") == (0, 0)
    refused = await house.sign_in(made["subject"], "anna")
    assert (refused["id"], refused["active"], refused["version"]) == (anna, False, 3)
    assert [row["id"] for row in await house.listed("/api/users?expired=true")] == [anna]
    assert await house.listed("/api/users?invited=true") == []

    bert = (await house.invite("/api/tenants/acme/users", ADMIN, "bert")).json()  # the seat is free
    full = await house.call("POST", path, ADMIN)
    assert (full.status_code, full.json()["code"]) == (409, "seat_limit_reached")
    assert house.account("anna")["is_active"] is False
    assert (await house.call("DELETE", f"/api/tenants/acme/users/{bert['userId']}", ADMIN)).status_code == 204
    voided = house.account("anna")["password_change_date"]
    again = await house.call("POST", path, ADMIN)
    assert (again.status_code, again.json()["handoff"], again.json()["status"]) == (201, "temp-password", "invited")
    assert again.json()["tempPassword"] != made["tempPassword"]
    assert house.account("anna")["password_change_date"] > voided
    assert (await house.stored(anna))["invite_expires_at"] > datetime.now(UTC) + timedelta(days=13)
    await account_is(house, "anna", active=True)
    assert await house.seats("acme") == (1, 1)
    assert (await house.sign_in(made["subject"], "anna"))["active"] is True
    assert (await house.stored(anna))["status"] == "active"
    assert (await house.stored(anna))["invite_expires_at"] is None


async def test_of_an_end_and_a_first_sign_in_at_one_moment_one_wins(house: House) -> None:
    await house.tenant("acme", seats=50)
    outbox = Outbox(house.mongo, "tenant", SystemClock())
    people, tasks = PeopleRepository(house.mongo), TaskRepository(house.mongo, SystemClock())
    transactions = house.mongo.transactions
    usage = UsageBook(UsageRepository(house.mongo), people, transactions, outbox)
    records = Records(people, tasks, transactions, outbox, SystemClock(), usage, timedelta(days=1))
    lease = Lease(house.mongo.db, "race", "this-test")
    assert await lease.acquire()
    expiry = Expiry(records, lease)
    for turn in range(4):
        names = [f"p{turn}{n}" for n in range(4)]
        invited = [
            await house.human(name, status="invited", tenants={"acme": "member"}, invite_expires_at=LONG_AGO)
            for name in names
        ]
        _, *answers = await asyncio.gather(
            expiry.end_overdue(),
            *(house.sign_in(human.identities[0].subject, name) for human, name in zip(invited, names, strict=True)),
        )
        await expiry.end_overdue()
        for human, answer in zip(invited, answers, strict=True):
            row = await house.stored(human.id)
            assert (row["status"], answer["active"]) in {("active", True), ("expired", False)}
            told = house.mongo.db["outbox"].find({"aggregate": f"users/{human.id}"})
            kinds = [event["type"] async for event in told]
            assert kinds == ["user.updated.v1" if row["status"] == "active" else "user.invite_expired.v1"]


async def test_what_fell_due_while_nobody_ran_ends_and_who_had_no_end_gets_one(
    service_environment: Any, mongo: Mongo, authentik: StandIn
) -> None:
    before = House(None, mongo, authentik, "down.example")  # type: ignore[arg-type]
    late = await before.human("late", status="invited", invite_expires_at=LONG_AGO)
    endless = await before.human("endless", status="invited")
    came = await before.human("came")
    environment = service_environment("tenant", invite_days=3, **provider(authentik))
    async with running(environment, mongo, authentik) as house:
        await eventually(lambda: has_status(house, late.id, "expired"))
        row = await house.stored(endless.id)
        assert row["status"] == "invited"
        assert abs(row["invite_expires_at"] - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=5)
        assert (await house.stored(came.id))["invite_expires_at"] is None


async def test_an_account_that_somebody_had_before_stays_theirs(house: House) -> None:
    await house.tenant("acme")
    house.make_account("anna")
    made = (await house.invite("/api/tenants/acme/users", ADMIN, "anna")).json()
    assert made["handoff"] == "existing"
    await ended(house, made["userId"])

    async def told() -> bool:
        return await house.mongo.db["people_tasks"].count_documents({"kind": "activity", "state": "done"}) == 1

    await eventually(told)
    assert house.account("anna")["is_active"] is True
    again = await house.call("POST", f"/api/users/{made['userId']}/resend-invite", ADMIN)
    assert (again.status_code, again.json()["handoff"], again.json()["status"]) == (201, "existing", "invited")


async def test_inviting_somebody_whose_invitation_ended(house: House) -> None:
    await house.tenant("acme")
    await house.tenant("globex")
    made = (await house.invite("/api/tenants/acme/users", ADMIN, "anna")).json()
    await ended(house, made["userId"])
    await account_is(house, "anna", active=False)
    codes = [
        (await house.invite(f"/api/tenants/{slug}/users", OWNER, "anna")).json()["code"] for slug in ("acme", "globex")
    ]
    assert codes == ["already_a_member", "invitation_expired"]
    assert (await house.stored(made["userId"]))["version"] == 3
    assert (await house.call("DELETE", f"/api/tenants/acme/users/{made['userId']}", ADMIN)).status_code == 204
    again = await house.invite("/api/tenants/globex/users", OWNER, "anna")
    assert (again.status_code, again.json()["userId"], again.json()["handoff"]) == (201, made["userId"], "none")
    await account_is(house, "anna", active=True)
    row = await house.stored(made["userId"])
    assert (row["status"], row["tenants"]) == ("invited", {"globex": "member"})


async def test_whoever_has_not_come_is_no_owner_that_remains(house: House) -> None:
    await house.partner("nordic")
    anna = await house.human("anna", partner=owner_of("nordic"))
    bert = (await house.invite("/api/partners/nordic/users", OWNER, "bert", role="owner")).json()
    for verb, path, body in (
        ("DELETE", f"/api/partners/nordic/users/{anna.id}", None),
        ("PATCH", f"/api/partners/nordic/users/{anna.id}", {"role": "staff"}),
        ("POST", f"/api/users/{anna.id}/deactivate", None),
        ("POST", f"/api/users/{anna.id}/erase", None),
    ):
        reply = await house.call(verb, path, operator(), body)
        assert (reply.status_code, reply.json()["code"]) == (409, "last_owner"), path
    await ended(house, bert["userId"])
    gone = await house.call("DELETE", f"/api/partners/nordic/users/{bert['userId']}", OWNER)
    assert gone.status_code == 204
    assert [row["id"] for row in await house.listed("/api/partners/nordic/users")] == [anna.id]


async def test_letting_somebody_in_again_does_not_revive_what_had_ended(house: House) -> None:
    await house.human("other", platform_admin=True)
    made = (await house.invite("/api/users/invite", operator(), "olga")).json()
    path = f"/api/users/{made['userId']}"
    assert (await house.call("POST", f"{path}/deactivate")).status_code == 200
    await time_is_over(house, made["userId"])
    back = await house.call("POST", f"{path}/reactivate")
    assert (back.status_code, back.json()["status"], back.json()["active"]) == (200, "expired", False)
    refused = await house.call("POST", f"{path}/reactivate")
    assert (refused.status_code, refused.json()["code"]) == (409, "invitation_expired")
    await account_is(house, "olga", active=False)
