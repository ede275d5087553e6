"""How much a tenant is used: exact whoever comes and goes at once, and one event a day for sign-ins."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient

from services.tenant.people.models import Human
from services.tenant.people.repository import PeopleRepository
from services.tenant.usage.book import UsageBook
from services.tenant.usage.repository import UsageRepository
from shared.actors import system
from shared.clock import SystemClock
from shared.contracts.tenant import TenantUsageChanged
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox
from shared.testing import partner_person
from tests.sandbox.authentik.process import StandIn
from tests.support.waiting import eventually
from tests.tenant.people import House, provider, running

OWNER = partner_person("nordic", "owner")
TOLD = TenantUsageChanged.type


def today() -> str:
    return datetime.now(UTC).date().isoformat()


async def told(house: House, tenant: str = "acme") -> list[dict[str, Any]]:
    events = [event for event in await house.events(TOLD) if event["resource"]["id"] == tenant]
    return sorted(events, key=lambda event: int(event["version"]))


async def test_the_seats_that_are_told_are_those_that_are_held_whoever_comes_and_goes_at_once(house: House) -> None:
    await house.tenant("acme", seats=40)
    await house.human("boss", tenants={"acme": "admin"})
    there = [await house.human(f"old{n}", tenants={"acme": "member"}) for n in range(6)]
    path = "/api/tenants/acme/users"
    replies = await asyncio.gather(
        *(house.invite(path, OWNER, f"new{n}") for n in range(6)),
        *(house.call("DELETE", f"{path}/{human.id}") for human in there[:3]),
        *(house.call("POST", f"/api/users/{human.id}/deactivate") for human in there[3:5]),
        house.call("POST", f"/api/users/{there[5].id}/erase"),
    )
    assert all(reply.is_success for reply in replies), [reply.text for reply in replies]
    assert await house.seats("acme") == (7, 7)
    await asyncio.gather(
        *(house.call("POST", f"/api/users/{human.id}/reactivate") for human in there[3:5]),
        *(house.call("DELETE", f"{path}/{reply.json()['userId']}") for reply in replies[:3]),
    )
    assert await house.seats("acme") == (6, 6)
    events = await told(house)
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    steps = [event["changes"]["seatsUsed"] for event in events]
    assert [step["before"] for step in steps[1:]] == [step["after"] for step in steps[:-1]]
    assert (events[-1]["state"]["seatsUsed"], events[-1]["state"]["partner"]) == (6, "nordic")
    row = await house.mongo.db["outbox"].find_one({"type": TOLD})
    assert row is not None
    assert row["envelope"]["subject"] == "usage/acme"  # its versions are not the tenant's


async def test_of_two_counts_of_one_tenant_at_once_one_is_repeated(mongo: Mongo) -> None:
    house = House(None, mongo, None, "counted.example")  # type: ignore[arg-type]
    await house.tenant("acme", seats=40)
    people, outbox = PeopleRepository(mongo), Outbox(mongo, "tenant", SystemClock())
    book = UsageBook(UsageRepository(mongo), people, mongo.transactions, outbox)
    start = asyncio.Barrier(8)

    async def join(number: int) -> None:
        human = Human(f"h{number}", "", "", (), SystemClock().now(), tenants={"acme": "member"})
        waited = False

        async def body(tx: Transaction) -> None:
            nonlocal waited
            await people.insert(human, tx)  # the snapshot is taken: nobody sees the other
            if not waited:
                waited = True
                await start.wait()
            await book.follow(system("test"), None, human, tx)

        await mongo.transactions.run(body)

    await asyncio.gather(*(join(number) for number in range(8)))
    assert await house.seats("acme") == (8, 8)
    assert [event["version"] for event in await told(house)] == list(range(1, 9))


async def test_an_invitation_that_waits_holds_a_seat_and_frees_it_when_it_is_withdrawn(house: House) -> None:
    await house.tenant("acme")
    house.fault(effect="error", pathPrefix="/api/v3/core/users/")
    made = await house.invite("/api/tenants/acme/users", OWNER, "anna")
    assert (made.status_code, await house.seats("acme")) == (202, (1, 1))
    gone = await house.call("DELETE", f"/api/tenants/acme/users/{made.json()['userId']}")
    assert (gone.status_code, await house.seats("acme")) == (204, (0, 0))


async def test_the_first_sign_in_of_a_day_is_told_once_for_a_tenant(house: House) -> None:
    await house.tenant("acme")
    await house.tenant("globex")
    people = [await house.human(f"p{n}", tenants={"acme": "member"}) for n in range(4)]
    both = await house.human("both", tenants={"acme": "member", "globex": "member"})

    async def everybody() -> None:
        await asyncio.gather(*(house.sign_in(h.identities[0].subject, h.email.partition("@")[0]) for h in people))

    await everybody()
    (event,) = await told(house)
    assert event["changes"]["lastSignInOn"] == {"before": None, "after": today()}
    assert event["state"]["seatsUsed"] == 5
    assert event["actor"]["id"] in {human.id for human in people}
    await everybody()
    await house.sign_in(both.identities[0].subject, "both")
    assert len(await told(house)) == 1
    (other,) = await told(house, "globex")
    assert (other["state"]["lastSignInOn"], other["state"]["seatsUsed"]) == (today(), 1)

    yesterday = datetime.now(UTC) - timedelta(days=1)
    await house.mongo.db["people"].update_many({}, {"$set": {"last_seen": yesterday}})
    day = {"$set": {"last_sign_in_on": yesterday.date().isoformat()}}
    await house.mongo.db["usage"].update_many({}, day)
    await everybody()
    _, again = await told(house)
    assert again["changes"]["lastSignInOn"] == {"before": yesterday.date().isoformat(), "after": today()}
    assert "seatsUsed" not in again["changes"]


async def test_whoever_may_not_act_is_not_seen(house: House) -> None:
    await house.tenant("acme")
    anna = await house.human("anna", tenants={"acme": "member"}, status="inactive")
    answer = await house.sign_in(anna.identities[0].subject, "another-name")
    assert answer["active"] is False
    row = await house.stored(anna.id)
    assert (row["last_seen"], row["version"], row["name"]) == (None, 1, "Anna")
    assert await told(house) == []


async def test_tenants_from_before_get_their_rows_once(
    service_environment: Any, mongo: Mongo, authentik: StandIn
) -> None:
    before = House(None, mongo, authentik, "old.example")  # type: ignore[arg-type]
    for slug in ("acme", "empty", "globex"):
        await before.tenant(slug)
    seen = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)
    await before.human("anna", tenants={"acme": "member"}, last_seen=seen)
    await before.human("bert", tenants={"acme": "member"}, last_seen=seen - timedelta(days=5))
    await before.human("gone", tenants={"acme": "member", "globex": "member"}, status="inactive")
    environment = service_environment("tenant", **provider(authentik))
    for _ in range(2):
        async with running(environment, mongo, authentik) as house:

            async def complete() -> bool:
                return await mongo.db["usage_marks"].count_documents({}) == 1

            await eventually(complete)
            (event,) = await told(house)
            state = event["state"]
            assert (state["seatsUsed"], state["lastSignInOn"], state["version"]) == (2, "2026-03-04", 1)
            assert [e["state"]["seatsUsed"] for e in await told(house, "globex")] == [0]
            assert await told(house, "empty") == []


async def test_somebody_known_costs_one_indexed_read_and_no_write(house: House, database: Any) -> None:
    await house.tenant("acme")
    for number in range(20):
        await house.human(f"p{number}", tenants={"acme": "member"})
    anna = await house.human("anna", tenants={"acme": "member"})
    subject = anna.identities[0].subject
    await house.sign_in(subject, "anna")
    root: MongoClient[dict[str, Any]]
    with MongoClient(database.uri) as root:
        db = root[database.name]
        db.command("profile", 2)
        for _ in range(5):
            await house.sign_in(subject, "anna")
        db.command("profile", 0)
        ours = {"ns": {"$regex": "people|usage|tenants"}}
        seen = list(db["system.profile"].find(ours))
    # Without what the workers look for by themselves.
    seen = [row for row in seen if not row["ns"].endswith("people_tasks") and "invite_expires_at" not in str(row)]
    assert [row["op"] for row in seen] == ["query"] * 5
    assert {row["ns"].partition(".")[2] for row in seen} == {"people"}
    assert {(row["keysExamined"], row["docsExamined"]) for row in seen} == {(1, 1)}
