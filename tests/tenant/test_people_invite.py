"""Inviting people: at the identity provider, in our records, in what is answered, and nowhere else."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import nats
import pytest
from pymongo import MongoClient

from services.tenant.people.credentials import temporary_password
from services.tenant.people.models import Identity
from shared.auth import ServicePrincipal
from shared.mongo import Mongo
from shared.testing import operator, partner_person, tenant_person
from shared.topology import Topology
from tests.sandbox.authentik.process import StandIn
from tests.support.servers import nats_url
from tests.support.waiting import eventually
from tests.tenant.people import ADMIN_API, CALLERS, House, owner_of

OWNER = partner_person("nordic", "owner")


@pytest.fixture
async def nordic(house: House) -> House:
    await house.partner("nordic")
    return house


def test_a_temporary_password_has_every_class_and_nothing_that_is_mistaken() -> None:
    passwords = {temporary_password() for _ in range(2_000)}
    assert len(passwords) == 2_000
    for password in passwords:
        assert len(password) == 16
        assert not set(password) & set("IO01l")
        assert re.search("[A-Z]", password)
        assert re.search("[a-z]", password)
        assert re.search("[2-9]", password)
        assert re.search("[^A-Za-z0-9]", password)
    # Shuffled: no class keeps a place of its own.
    assert {bool(re.match("[A-Z]", password)) for password in passwords} == {True, False}


async def test_an_operator_is_invited_into_the_operators_group_with_one_credential(house: House) -> None:
    reply = await house.invite("/api/users/invite", operator(), "olga", operator=True)
    assert reply.status_code == 201, reply.text
    body = reply.json()
    account = house.account("olga")
    assert (body["subject"], body["status"], body["handoff"]) == (account["uid"], "invited", "temp-password")
    assert body["credentialReturned"] is True
    assert len(body["tempPassword"]) == 16
    assert "link" not in body
    assert house.groups_of("olga") == ["dezky-platform-admins"]
    (seen,) = await house.listed("/api/users?admins=true")
    assert (seen["id"], seen["status"], seen["platformAdmin"], seen["pending"]) == (
        body["userId"],
        "invited",
        True,
        None,
    )
    (event,) = await house.events("platform.user_invited.v1")
    assert event["handoff"] == "temp-password"
    assert (event["state"]["status"], event["version"]) == ("invited", 2)
    assert event["actor"]["ip"] == "203.0.113.7"


async def test_a_recovery_link_is_the_credential_where_there_is_a_recovery_flow(house: House) -> None:
    with recovery_flow(house.authentik):
        reply = await house.invite("/api/users/invite", operator(), "rita")
    body = reply.json()
    assert reply.status_code == 201
    assert body["link"].startswith(house.authentik.url)
    assert "tempPassword" not in body
    (event,) = await house.events("platform.user_invited.v1")
    assert event["handoff"] == "recovery-link"


async def test_a_replay_repeats_everything_but_the_credential(house: House) -> None:
    headers = {"idempotency_key": "k1"}
    first = await house.invite("/api/users/invite", operator(), "olga", headers=headers)
    again = await house.invite("/api/users/invite", operator(), "olga", headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    said = first.json()
    del said["tempPassword"]
    assert again.json() == said
    assert said["credentialReturned"] is True
    other = await house.invite("/api/users/invite", operator(), "other", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_credential_is_in_no_collection_no_event_and_no_log(
    house: House, nats_server: Any, nats_topology: Topology, database: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    first = await house.invite("/api/users/invite", operator(), "olga", headers={"idempotency_key": "k1"})
    with recovery_flow(house.authentik):
        person = first.json()["userId"]
        headers = CALLERS.headers(operator(), idempotency_key="k2")
        second = await house.http.post(f"/api/users/{person}/resend-invite", headers=headers)
    password, link = first.json()["tempPassword"], second.json()["link"]
    await eventually(lambda: _all_published(house.mongo))
    secrets = [password.encode(), link.encode(), link.rpartition("/")[2].encode()]
    admin = await nats.connect(nats_url(nats_server, "admin"))
    info = await admin.jetstream().stream_info(nats_topology.stream_events)
    assert info.state.messages >= 3
    messages = [
        (await admin.jetstream().get_msg(nats_topology.stream_events, seq)).data or b""
        for seq in range(1, info.state.messages + 1)
    ]
    await admin.close()
    root: MongoClient[dict[str, Any]]
    with MongoClient(database.uri) as root:
        stored = [raw for c in root[database.name].list_collection_names() for raw in _raw(root[database.name][c])]
    printed = capfd.readouterr()
    assert "invited" in b"".join(messages).decode()
    assert "request" in printed.out  # the log was really captured
    for secret in secrets:
        assert not any(secret in text for text in [*messages, *stored])
        assert secret.decode() not in printed.out + printed.err


def _raw(collection: Any) -> list[bytes]:
    return [repr(document).encode() for document in collection.find()]


async def _all_published(mongo: Mongo) -> bool:
    return await mongo.db["outbox"].count_documents({"pending": True}) == 0


async def test_the_first_of_a_partner_is_its_owner_and_the_next_is_staff(nordic: House) -> None:
    first = await nordic.invite("/api/partners/nordic/users", operator(), "anna", role="staff")
    second = await nordic.invite("/api/partners/nordic/users", OWNER, "bert")
    assert (first.status_code, second.status_code) == (201, 201), second.text
    people = await nordic.listed("/api/partners/nordic/users")
    assert [(row["name"], row["role"]) for row in people] == [("Anna", "owner"), ("Bert", "staff")]
    assert nordic.groups_of("bert") == ["dezky-partner-staff"]


async def test_a_tenant_never_has_more_people_than_seats_also_when_two_take_the_last(nordic: House) -> None:
    await nordic.tenant("acme", seats=2)
    admin = tenant_person("acme", "admin")
    first = await nordic.invite("/api/tenants/acme/users", partner_person("nordic"), "anna", role="admin")
    assert first.status_code == 201, first.text
    replies = await asyncio.gather(
        *(nordic.invite("/api/tenants/acme/users", admin, name) for name in ("bert", "carl", "dora"))
    )
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409]
    assert {reply.json()["code"] for reply in replies if reply.status_code == 409} == {"seat_limit_reached"}
    assert len(await nordic.listed("/api/tenants/acme/users", admin)) == 2


async def test_an_address_held_by_another_user_is_refused_and_nothing_remains(nordic: House) -> None:
    nordic.make_account("anna", username=f"someone-{nordic.domain}")
    headers = {"idempotency_key": "k1"}
    refused = await nordic.invite("/api/partners/nordic/users", OWNER, "anna", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "identity_conflict")
    assert await nordic.listed("/api/partners/nordic/users") == []
    assert await nordic.mongo.db["people_tasks"].count_documents({"state": "open"}) == 0
    (event,) = await nordic.events("user.invite_withdrawn.v1")
    assert (event["reason"], event["outcome"]) == ("identity_conflict", "failure")
    again = await nordic.invite("/api/partners/nordic/users", OWNER, "anna", headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "identity_conflict")


@pytest.mark.parametrize("fields", [{"type": "service_account"}, {"is_active": False}])
async def test_a_machines_or_a_disabled_account_is_not_adopted(nordic: House, fields: dict[str, Any]) -> None:
    nordic.make_account("robot", **fields)
    refused = await nordic.invite("/api/partners/nordic/users", OWNER, "robot")
    assert (refused.status_code, refused.json()["code"]) == (409, "account_not_usable")


async def test_somebody_elses_account_is_adopted_without_a_way_into_it(nordic: House) -> None:
    account = nordic.make_account("anna")
    reply = await nordic.invite("/api/partners/nordic/users", OWNER, "anna")
    body = reply.json()
    assert (reply.status_code, body["subject"], body["handoff"]) == (201, account["uid"], "existing")
    assert not {"link", "tempPassword"} & body.keys()
    assert body["credentialReturned"] is False
    assert nordic.account("anna")["password_change_date"] == account["password_change_date"]
    resent = await nordic.http.post(f"/api/users/{body['userId']}/resend-invite", headers=CALLERS.headers(OWNER))
    assert (resent.status_code, resent.json()["code"]) == (409, "account_not_usable")


async def test_somebody_known_gets_the_role_and_no_credential(nordic: House) -> None:
    await nordic.tenant("acme")
    account = nordic.make_account("anna")
    anna = await nordic.human("anna", identities=(Identity("authentik", account["uid"]),), partner=owner_of("nordic"))
    reply = await nordic.invite("/api/tenants/acme/users", OWNER, "anna", role="admin")
    body = reply.json()
    assert (reply.status_code, body["userId"], body["handoff"]) == (201, anna.id, "existing")
    assert not {"link", "tempPassword"} & body.keys()
    assert (await nordic.stored(anna.id))["tenants"] == {"acme": "admin"}
    again = await nordic.invite("/api/tenants/acme/users", OWNER, "anna", role="member")
    assert (again.status_code, again.json()["code"]) == (409, "already_a_member")
    assert (await nordic.stored(anna.id))["tenants"] == {"acme": "admin"}


async def test_an_address_alone_links_nobody(nordic: House) -> None:
    """The address is known here with one account, and Authentik has another under that name."""
    anna = await nordic.human("anna")
    nordic.make_account("anna")
    refused = await nordic.invite("/api/partners/nordic/users", OWNER, "anna")
    assert (refused.status_code, refused.json()["code"]) == (409, "identity_conflict")
    row = await nordic.stored(anna.id)
    assert (row["partner"], row["version"]) == (None, 1)


async def test_an_account_that_is_somebody_here_gives_them_the_role_whatever_their_address(nordic: House) -> None:
    account = nordic.make_account("anna")
    known = await nordic.human("anna-of-old", identities=(Identity("authentik", account["uid"]),))
    reply = await nordic.invite("/api/partners/nordic/users", operator(), "anna")
    assert (reply.status_code, reply.json()["userId"]) == (201, known.id)
    assert await nordic.mongo.db["people"].count_documents({}) == 1


async def test_a_person_of_another_partner_and_a_deactivated_one_are_refused(nordic: House) -> None:
    await nordic.human("anna", partner=owner_of("fjord"))
    await nordic.human("bert", status="inactive")
    refused = [await nordic.invite("/api/partners/nordic/users", OWNER, name) for name in ("anna", "bert")]
    assert [reply.json()["code"] for reply in refused] == ["in_another_partner", "person_inactive"]


async def test_a_new_credential_is_for_whoever_invited_and_has_no_other_places(nordic: House) -> None:
    await nordic.tenant("acme")
    made = await nordic.invite("/api/tenants/acme/users", OWNER, "anna", role="admin")
    person = made.json()["userId"]
    path = f"/api/users/{person}/resend-invite"

    async def codes(*callers: Any) -> list[Any]:
        replies = [await nordic.http.post(path, headers=CALLERS.headers(caller)) for caller in callers]
        return [reply.json().get("code", reply.status_code) for reply in replies]

    member, stranger = tenant_person("acme", "member"), partner_person("fjord", "owner")
    assert await codes(stranger, member) == ["not_found", "insufficient_role"]
    assert await codes(tenant_person("acme", "admin"), partner_person("nordic"), operator()) == [201, 201, 201]
    await nordic.partner("fjord")
    joined = await nordic.invite("/api/partners/fjord/users", operator(), "anna")
    assert joined.json()["handoff"] == "existing"
    assert await codes(OWNER, stranger, operator()) == ["belongs_elsewhere", "belongs_elsewhere", 201]


async def test_the_first_sign_in_makes_an_invited_person_active_and_says_from_where(nordic: House) -> None:
    made = (await nordic.invite("/api/partners/nordic/users", OWNER, "anna")).json()
    question = {
        "identityProvider": "authentik",
        "subject": made["subject"],
        "email": nordic.address("anna"),
        "name": "Anna",
        "groups": ["dezky-partner-staff"],
        "surface": "portal",
        "clientIp": "198.51.100.9",
    }
    gateway = CALLERS.headers(ServicePrincipal(name="gateway"))
    seen = (await nordic.http.post("/internal/principals", json=question, headers=gateway)).json()
    assert (seen["id"], seen["active"], seen["partner"]) == (
        made["userId"],
        True,
        {"slug": "nordic", "role": "owner"},
    )
    assert (await nordic.stored(made["userId"]))["status"] == "active"
    (event,) = await nordic.events("user.updated.v1")
    assert event["actor"] == {
        "type": "user",
        "id": made["userId"],
        "email": nordic.address("anna"),
        "ip": "198.51.100.9",
        "surface": "portal",
    }
    late = await nordic.http.post(f"/api/users/{made['userId']}/resend-invite", headers=CALLERS.headers(OWNER))
    assert (late.status_code, late.json()["code"]) == (409, "not_invited")


class recovery_flow:  # noqa: N801 - reads as what it does
    """Gives the stand-in's brand a recovery flow, and takes it away again."""

    def __init__(self, authentik: StandIn) -> None:
        self._http = authentik.http

    def __enter__(self) -> None:
        found = self._http.get("/api/v3/flows/instances/?slug=recovery", headers=ADMIN_API).json()["results"]
        body = {"name": "recovery", "slug": "recovery", "title": "Recovery", "designation": "recovery"}
        flow = found[0] if found else self._http.post("/api/v3/flows/instances/", json=body, headers=ADMIN_API).json()
        self._set(flow["pk"])

    def __exit__(self, *_: object) -> None:
        self._set(None)

    def _set(self, flow: str | None) -> None:
        (brand,) = self._http.get("/api/v3/core/brands/", headers=ADMIN_API).json()["results"]
        path = f"/api/v3/core/brands/{brand['brand_uuid']}/"
        assert self._http.patch(path, json={"flow_recovery": flow}, headers=ADMIN_API).status_code == 200
