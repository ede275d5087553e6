"""A deletion in every backend: shut during its grace, then erased, looked for in vain, and certified."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey

from services.tenant.models import RestoreTooLate, Tenant
from services.tenant.people.models import Human
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.jmap import Jmap
from services.tenant.provisioning.models import Desired
from services.tenant.provisioning.remote import Memo
from services.tenant.provisioning.stalwart import StalwartBackend
from services.tenant.repository import INDEXES, TenantRepository
from shared.clock import SystemClock
from shared.contracts.tenant import OwnershipState
from shared.contracts.user import PartnerRoleState
from shared.errors import StaleVersion
from shared.ids import new_id
from shared.mongo import Mongo, Transaction
from shared.testing import operator, partner_person, person
from tests.sandbox.stalwart.process import API_KEY, Stalwart
from tests.support.waiting import eventually
from tests.tenant.suite import (
    CALLERS,
    SUITE,
    Suite,
    World,
    deletions_of,
    is_disabled,
    serving,
    suite,
    world,
)

__all__ = ["suite", "world"]
GRACE = timedelta(days=30)


def nothing_is_left(world: World, name: str = "acme") -> None:
    assert world.groups(name) == []
    assert world.probes(name) == []
    password = f"service-account-dezky-probe-{world.slug(name)}-password"
    assert world.suite.authentik.api("GET", f"/core/tokens/{password}/").status_code == 404
    assert world.domains() == []
    assert world.spaces(name) == []


def exists(world: World, human: Human) -> bool:
    return world.suite.authentik.api("GET", f"/core/users/{human.account}/").status_code == 200


async def certificate(world: World, caller: Any = None, name: str = "acme") -> Any:
    path = f"/api/tenants/{world.slug(name)}/certificate"
    return await world.http.get(path, headers=CALLERS.headers(caller or operator()))


async def test_a_tenant_that_is_deleted_is_shut_like_a_suspended_one_and_restoring_opens_it_again(world: World) -> None:
    anna = await world.person("anna")
    await world.create()
    await world.settled("Provisioned")
    world.give_mail_password(anna.email)
    await world.delete(grace=GRACE)
    await world.settled("Proven")
    assert world.suite_sign_in(anna) == (400, "invalid_grant")
    assert world.suite.stalwart.sign_in(anna.email).status_code == 403
    assert (world.may_submit(anna.email), world.suite.stalwart.mail(anna.email)) == ("refused", "accepted")
    assert is_disabled(world.space())
    await world.restore()
    assert (await world.settled("Provisioned"))["status"] == "active"
    assert world.suite_sign_in(anna) == (200, "")
    assert anna.email in world.in_space()
    assert await world.events("tenant.erasure_started.v1") == []


async def test_after_its_grace_nothing_of_a_tenant_is_left_but_what_was_never_its_own(world: World) -> None:
    await world.create("other", domains=False)
    anna = await world.person("anna", ours=True, tenants={world.slug(): "admin"})
    found = await world.person("bert")
    both = await world.person("carl", ours=True, tenants={world.slug(): "member", world.slug("other"): "member"})
    seller = await world.person("dora", ours=True, partner=PartnerRoleState(slug="nordic", role="staff"))
    inactive = await world.person("emil", ours=True, status="inactive")
    expired = await world.person("fred", ours=True, status="expired")
    inviting = await half_invited(world)
    await world.create()
    await world.settled("Provisioned")
    await world.settled("Provisioned", "other")
    world.suite.stalwart.user("info", world.domains()[0])
    assert world.suite.stalwart.mail(anna.email) == "accepted"
    users = world.ocis_users()
    assert {anna.email, found.email, both.email} <= users.keys()

    await world.delete(grace=GRACE)
    await world.settled("Proven")
    await world.grace_over()
    seen = await world.deleted()

    nothing_is_left(world)
    assert [exists(world, human) for human in (anna, inactive, expired, inviting)] == [False] * 4
    assert [exists(world, human) for human in (found, both, seller)] == [True] * 3
    assert world.account(found)["is_active"]
    assert world.suite_sign_in(found) == (400, "invalid_grant")
    assert world.suite_sign_in(seller) == (400, "invalid_grant")
    assert world.suite_sign_in(both) == (200, "")
    assert world.members("other") == {both.email}
    assert world.ocis_users() == {both.email: users[both.email]}
    assert (seen["domains"], seen["billing"]) == ([], {"contact": None, "company": None, "address": None})
    assert {(c["status"], c["reason"]) for c in seen["provisioning"].values()} == {("ready", "Erased")}
    assert len(await world.events("tenant.erasure_started.v1")) == 1
    people = {row["_id"]: row async for row in world.mongo.db["people"].find()}
    assert [people[human.id]["status"] for human in (anna, found, inviting)] == ["erased"] * 3
    assert people[both.id]["tenants"] == {world.slug("other"): "member"}
    row = await world.mongo.db["provisioning"].find_one({"slug": world.slug()})
    assert row is not None
    assert "next_at" not in row
    assert "memos" not in row


async def half_invited(world: World) -> Human:
    """Somebody whose invitation made an account and was killed before it could record whose."""
    human = Human(
        id=new_id(),
        email=f"gina@{world.domain}",
        name="Gina",
        identities=(),
        created_at=SystemClock().now(),
        status="inviting",
        tenants={world.slug(): "member"},
    )
    mark = {"dezky": {"person": human.id}}
    account = world.suite.authentik.new_user(human.email, email=human.email, attributes=mark)

    async def body(tx: Transaction) -> None:
        await PeopleRepository(world.mongo).insert(human, tx)

    await world.mongo.transactions.run(body)
    return Human(**{**{f: getattr(human, f) for f in human.__slots__}, "account": account["pk"]})


# RFC 9864 names the curve in the algorithm; libraries warn of the older name, which RFC 8037 gave it.
@pytest.mark.filterwarnings("ignore:.*EdDSA")
async def test_the_certificate_says_what_was_seen_and_every_changed_byte_breaks_it(world: World) -> None:
    anna = await world.person("anna", ours=True)
    created = await world.create()
    await world.settled("Provisioned")
    assert (await certificate(world)).status_code == 404
    assert (await certificate(world, person(tenants={world.slug(): "admin"}))).status_code == 403
    assert (await certificate(world, person(tenants={"another": "admin"}))).status_code == 404
    await world.delete()
    seen = await world.deleted()

    told = (await certificate(world, partner_person("nordic"))).json()
    (event,) = await world.events("tenant.deleted.v1")
    assert hashlib.sha256(told["certificate"].encode()).hexdigest() == told["sha256"] == event["certificateSha256"]
    key = OKPKey.import_key(told["publicKey"])
    verified = jws.deserialize_compact(told["certificate"], key, algorithms=["EdDSA"])
    payload = json.loads(verified.payload)
    assert payload == told["payload"]
    assert verified.headers() == {
        "alg": "EdDSA",
        "kid": key.thumbprint(),
        "typ": "dezky-deletion-certificate+jws",
    }
    deletion = event["state"]["deletion"]
    assert payload["tenant"] == {"id": created["id"], "slug": world.slug()}
    moments = [payload[name] for name in ("requestedAt", "erasingSince", "erasedAt")]
    assert moments == [deletion[name] for name in ("requestedAt", "erasingSince", "erasedAt")] == sorted(moments)
    assert {backend["name"]: backend["gone"] for backend in payload["backends"]} == {
        "authentik": {"account": 1, "group": 1, "probe": 1},
        "ocis": {"space": 1, "user": 1},
        "stalwart": {"account": 1, "domain": 1},
    }
    assert seen["version"] == event["version"]
    text = json.dumps(payload)
    assert all(word not in text for word in (anna.email, anna.name, world.domain))
    for position in (30, len(told["certificate"]) // 2, len(told["certificate"]) - 10):
        flipped = "A" if told["certificate"][position] != "A" else "B"
        forged = told["certificate"][:position] + flipped + told["certificate"][position + 1 :]
        with pytest.raises((BadSignatureError, ValueError)):
            jws.deserialize_compact(forged, key, algorithms=["EdDSA"])
    page = (Path(__file__).parents[2] / "docs" / "deletion-certificate.md").read_text()
    assert [member for member in payload if f"`{member}`" not in page] == []


@pytest.mark.parametrize("effect", ["lose_reply", "error"])
async def test_faults_and_lost_replies_delay_an_erasure_and_leave_nothing_behind(world: World, effect: str) -> None:
    anna = await world.person("anna", ours=True)
    await world.create()
    await world.settled("Provisioned")
    for process, method in (
        (world.suite.authentik, "DELETE"),
        (world.suite.stalwart, "POST"),
        (world.suite.ocis, "DELETE"),
    ):
        rule = {"effect": effect, "method": method, "probability": 0.5, "seed": 7, "count": 6}
        assert process.http.post("/_sandbox/faults", json=rule).status_code == 201
    await world.delete()
    await world.deleted()
    nothing_is_left(world)
    assert not exists(world, anna)
    assert world.ocis_users() == {}
    assert len(await world.events("tenant.deleted.v1")) == 1
    counted = (await certificate(world)).json()["payload"]["backends"]
    assert {backend["name"]: sum(backend["gone"].values()) for backend in counted} == {
        "authentik": 3,
        "ocis": 2,
        "stalwart": 2,
    }


async def test_an_account_that_administers_stalwart_is_not_destroyed_and_is_named(world: World) -> None:
    await world.create()
    await world.settled("Provisioned")
    boss = world.suite.stalwart.user("boss", world.domains()[0], roles={"@type": "Admin"})
    await world.delete()

    async def named() -> bool:
        found = await world.conditions()
        assert found["stalwart"] == ("failed", "AdministratorInDomain")
        return found["authentik"] == found["ocis"] == ("ready", "Erased")

    await eventually(named)
    assert f"boss@{world.domain}" in world.mailboxes()
    assert (await world.tenant())["status"] == "deleting"
    world.suite.stalwart.call("x:Account/set", {"destroy": [boss]})
    await world.act("reconcile")
    await world.deleted()
    nothing_is_left(world)


async def test_mail_that_is_still_being_destroyed_is_not_erased_yet(tmp_path: Path) -> None:
    stalwart = Stalwart(tmp_path, destroyDelayMs=800)
    stalwart.start()
    desired = Desired("t-1", "acme", 3, open=False, seats=1, domains=("slow.example",), members=(), gone=True)
    domain = stalwart.domain("slow.example", description=desired.mark)
    stalwart.user("anna", domain)
    assert stalwart.mail("anna@slow.example") == "accepted"

    async def save(_changes: dict[str, Any]) -> None:
        return

    backend, memo = StalwartBackend(Jmap(stalwart.url, API_KEY)), Memo({}, save)
    first = await backend.reconcile(desired, memo, Differences("stalwart"))
    assert (first.status, first.reason) == ("pending", "Destroying")

    async def erased() -> bool:
        found = await backend.reconcile(desired, memo, Differences("stalwart"))
        return (found.status, found.reason, found.gone) == ("ready", "Erased", {"account": 1, "domain": 1})

    await eventually(erased)
    await backend.close()
    stalwart.stop()
    stalwart.close()


async def test_without_any_integration_a_deletion_ends_with_an_empty_list_of_backends(
    service_environment: Any, mongo: Mongo, suite: Suite
) -> None:
    async with serving(service_environment("tenant", resync_seconds=1), mongo, suite) as world:
        await world.sell()
        assert (await world.create())["status"] == "active"
        await world.delete()
        await world.deleted()
        assert (await certificate(world)).json()["payload"]["backends"] == []


def stored_tenant(slug: str, *, due: bool = True) -> Tenant:
    now = SystemClock().now() - timedelta(days=40)
    made = Tenant(
        id=new_id(),
        slug=slug,
        name=slug,
        plan="business",
        cycle="month",
        currency="EUR",
        seats=1,
        partner="nordic",
        status="active",
        created_at=now,
        updated_at=now,
        ownership=(OwnershipState(partner="nordic", since=now),),
    )
    return made.delete(None, now + GRACE, now) if due else made


async def store(mongo: Mongo, *tenants: Tenant) -> None:
    repository = TenantRepository(mongo)

    async def body(tx: Transaction) -> None:
        for tenant in tenants:
            await repository.insert(tenant, tx)

    await mongo.transactions.run(body)


async def test_of_a_restore_and_the_begin_of_the_erasure_in_one_instant_exactly_one_happens(
    mongo: Mongo, suite: Suite
) -> None:
    # Only its records are needed: nothing is served.
    world = World(httpx.AsyncClient(), mongo, suite)
    names = [f"t{number}" for number in range(40)]
    await mongo.ensure_indexes(INDEXES)
    await store(mongo, *(stored_tenant(world.slug(name)) for name in names))
    deletions, restored = deletions_of(mongo), set[str]()

    async def restore(name: str) -> None:
        try:
            await world.restore(name)
            restored.add(world.slug(name))
        except (RestoreTooLate, StaleVersion):
            return

    await asyncio.gather(deletions.begin(), *(restore(name) for name in names), deletions.begin())
    slugs = [world.slug(name) for name in names]
    rows = {row["slug"]: row async for row in mongo.db["tenants"].find()}
    started = [
        row["envelope"]["data"]["resource"]["id"]
        async for row in mongo.db["outbox"].find({"type": "tenant.erasure_started.v1"})
    ]
    assert sorted([*started, *restored]) == sorted(slugs)
    assert {slug for slug, row in rows.items() if row["status"] == "active"} == restored
    assert {row["version"] for row in rows.values()} == {3}


async def test_after_a_long_pause_what_is_due_is_found_by_an_index_and_nothing_else_is_read(mongo: Mongo) -> None:
    await mongo.ensure_indexes(INDEXES)
    waiting = [stored_tenant(f"open{number}", due=False) for number in range(30)]
    now = SystemClock().now()
    graced = [stored_tenant(f"graced{n}", due=False).delete(None, now + GRACE, now) for n in range(10)]
    await store(mongo, *waiting, *graced, *(stored_tenant(f"due{number}") for number in range(3)))
    await mongo.db.command("profile", 2)
    due = await TenantRepository(mongo).due_for_erasure_across_tenants(now, 100)
    await mongo.db.command("profile", 0)
    assert sorted(due) == ["due0", "due1", "due2"]
    (seen,) = await mongo.db["system.profile"].find({"op": "query", "ns": {"$regex": "tenants$"}}).to_list()
    assert (seen["keysExamined"], seen["docsExamined"], seen["nreturned"]) == (3, 3, 3)
    assert await deletions_of(mongo).begin() == 3
    assert await deletions_of(mongo).begin() == 0


async def test_people_of_two_tenants_that_are_erased_at_once_keep_no_account(world: World) -> None:
    await world.create("other", domains=False)
    both = await world.person("carl", ours=True, tenants={world.slug(): "member", world.slug("other"): "member"})
    await world.create()
    await world.settled("Provisioned")
    await world.settled("Provisioned", "other")
    await world.delete()
    await world.delete("other")
    await world.deleted()
    await world.deleted("other")
    assert not exists(world, both)
    assert world.ocis_users() == {}
    assert world.suite.authentik.token(SUITE, {"username": both.email, "appPassword": "x"}).status_code == 400
