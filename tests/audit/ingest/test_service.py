"""The audit service whole, with the three systems as processes beside it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.audit.main import build
from services.audit.settings import AuditSettings
from shared.mongo import Database
from shared.testing import Callers, operator, partner_person
from tests.audit.events import PERSONAL_KEY
from tests.sandbox.authentik.process import MEMBER, SEED, StandIn
from tests.sandbox.ocis.process import Ocis
from tests.sandbox.stalwart.process import PASSWORD, Stalwart
from tests.support.servers import LiveServer, TestDatabase
from tests.support.waiting import eventually

CALLERS = Callers("audit")
KEY = base64.urlsafe_b64encode(PERSONAL_KEY).rstrip(b"=").decode()
HOOK_KEY = "key-that-signs-the-events"


@dataclass
class World:
    """A running audit service, its database as root, and what is around it."""

    http: httpx.AsyncClient
    db: Database

    async def get(self, path: str, **query: str) -> Any:
        reply = await self.http.get(path, params=query, headers=CALLERS.headers(operator()))
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def entries(self, **filters: str) -> list[dict[str, Any]]:
        page = await self.get("/api/audit", limit="500", **filters)
        items: list[dict[str, Any]] = page["items"][::-1]
        return items

    async def source(self, name: str) -> dict[str, Any]:
        (found,) = [item for item in (await self.get("/api/audit/sources"))["items"] if item["source"] == name]
        assert isinstance(found, dict)
        return found

    async def deliver(self, body: bytes, **headers: str) -> httpx.Response:
        return await self.http.post("/webhooks/stalwart", content=body, headers=headers)

    async def delivered(self, *events: dict[str, Any]) -> httpx.Response:
        body = json.dumps({"events": events}).encode()
        return await self.deliver(body, **signed(body))


def signed(body: bytes, key: str = HOOK_KEY) -> dict[str, str]:
    return {"x-signature": base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()}


def event(number: int, **changes: Any) -> dict[str, Any]:
    detail = {"accountName": f"jane{number}@acme.example", "remoteIp": "203.0.113.7"}
    return {"id": str(number), "createdAt": "2026-11-22T11:59:00Z", "type": "auth.failed", "data": detail, **changes}


ONE = json.dumps({"events": [event(1)]}).encode()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Any]:
    return {"stalwart_webhook_key": HOOK_KEY, "ocis_audit_file": str(tmp_path / "audit.log"), "ocis_poll_seconds": 0.05}


@pytest.fixture
async def world(
    service_environment: Any, audit_database: TestDatabase, sources: dict[str, Any], root_db: Database
) -> AsyncIterator[World]:
    keys = {"personal_key": KEY, "signing_key": KEY}
    settings = AuditSettings(**service_environment("audit", mongo_uri=audit_database.uri, **keys, **sources))
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await eventually(lambda: _ready(http))
        yield World(http, root_db)


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def chained(world: World, count: int, **filters: str) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]]:
        found = await world.entries(**filters)
        assert len(found) >= count, found
        return found

    return await eventually(look)


async def test_a_signed_batch_is_chained_and_a_repetition_with_other_ids_changes_nothing(world: World) -> None:
    twins = [event(1), event(1, id="2"), event(3)]
    assert (await world.delivered(*twins)).status_code == 204
    again = [{**told, "id": str(100 + number)} for number, told in enumerate([*twins, event(4)])]
    assert (await world.delivered(*again)).status_code == 204
    entries = await chained(world, 4, source="stalwart")
    assert [entry["actorEmail"] for entry in entries] == [f"jane{n}@acme.example" for n in (1, 1, 3, 4)]
    assert {(entry["action"], entry["outcome"]) for entry in entries} == {("stalwart.auth_failed", "failure")}
    assert (await world.delivered(*again)).status_code == 204
    assert (await world.source("stalwart"))["received"] == 4
    assert await world.entries(actorEmail="jane3@acme.example") == entries[2:3]


async def test_events_of_a_batch_that_cannot_be_understood_are_chained_all_the_same(world: World) -> None:
    odd: list[Any] = ["text", 7, {"type": "auth.success"}, {**event(1), "data": {"$commit": "0" * 64}}, event(2)]
    assert (await world.delivered(*odd)).status_code == 204
    entries = await chained(world, 5, source="stalwart")
    assert [entry["metadata"].get("reason") for entry in entries] == [
        *("not_json", "not_json", "not_an_event", "reserved_name", None)
    ]


FORGED: list[list[tuple[str, str | bytes]]] = [
    [],
    [("x-signature", "")],
    [("x-signature", "AAAA")],
    [*signed(b"another body").items()],
    [*signed(ONE, "another-key-of-16-characters").items()],
    [("x-signature", hmac.new(HOOK_KEY.encode(), ONE, hashlib.sha256).hexdigest())],
    [("x-signature", "é".encode())],
    [*signed(ONE).items(), ("x-signature", "AAAA")],
]


async def test_a_forged_delivery_is_refused_and_leaves_no_trace(world: World) -> None:
    for headers in FORGED:
        reply = await world.http.post("/webhooks/stalwart", content=ONE, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "bad_signature"), headers
        assert reply.headers["content-type"] == "application/problem+json"
    assert (await world.deliver(ONE, **signed(ONE), authorization="Bearer of-somebody")).status_code == 401
    assert await world.db["ingested"].count_documents({}) == 0
    assert (await world.source("stalwart"))["received"] == 0
    shown = await world.source("authentik")
    assert (shown["state"], shown["reason"]) == ("off", "AUDIT_AUTHENTIK_URL is not set")
    portal = CALLERS.headers(partner_person("nordic"))
    assert (await world.http.get("/api/audit/sources", headers=portal)).status_code == 403


async def test_a_signed_body_that_is_no_batch_is_refused_counted_and_shown(world: World) -> None:
    bodies = [b"", b"{", b"[]", b'{"events": {}}', b'{"events": [], "events": []}', b"\xff"]
    for body in bodies:
        reply = await world.deliver(body, **signed(body))
        assert (reply.status_code, reply.json()["code"]) == (400, "malformed_request"), body
    assert (await world.source("stalwart"))["skipped"] == {"not_json": len(bodies)}
    endless = b"x" * (1024 * 1024 + 1)
    assert (await world.deliver(endless, **signed(endless))).status_code == 413


async def test_lines_of_the_file_are_chained_across_a_rotation_and_what_is_no_json_is_shown(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"

    async def says(state: str) -> bool:
        return bool((await world.source("ocis"))["state"] == state)

    await eventually(lambda: says("error"), what="a missing file is told")
    assert (await world.source("ocis"))["reason"] == "AUDIT_OCIS_AUDIT_FILE: there is no such file"
    path.write_text('{"Action": "space_created", "SpaceID": "a"}\nnot JSON\n{"Action": "space_deleted"}\n')
    await chained(world, 2, source="ocis")
    path.rename(path.with_name("audit.log.1"))
    path.write_text('{"Action": "space_renamed"}\n{"Action": "spa')
    entries = await chained(world, 3, source="ocis")
    assert [entry["action"] for entry in entries] == ["ocis.space_created", "ocis.space_deleted", "ocis.space_renamed"]
    assert entries[0]["metadata"]["data"] == {"Action": "space_created", "SpaceID": "a"}
    await eventually(lambda: says("ok"))
    shown = await world.source("ocis")
    assert (shown["skipped"], shown["received"], shown["waiting"]) == ({"not_json": 1}, 3, 0)
    assert shown["lastPosition"] == "byte 28 of file 2"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Stalwart, Ocis]]:
    generous = {"authenticatedPerMinute": 100_000, "anonymousPerMinute": 100_000}
    authentik = StandIn(tmp_path_factory.mktemp("authentik"))
    stalwart = Stalwart(tmp_path_factory.mktemp("stalwart"), limits=generous)
    made = (authentik, stalwart, Ocis(tmp_path_factory.mktemp("ocis")))
    for process in made:
        process.start()
    yield made
    for process in made:
        process.stop()
        process.close()


@pytest.fixture
def of_suite(suite: tuple[StandIn, Stalwart, Ocis]) -> dict[str, Any]:
    authentik, _, ocis = suite
    return {
        "authentik_url": authentik.url,
        "authentik_token": SEED["apiToken"],
        "authentik_poll_seconds": 0.2,
        "stalwart_webhook_key": HOOK_KEY,
        "ocis_audit_file": str(ocis.state / "audit.log"),
        "ocis_poll_seconds": 0.1,
    }


class TestWithTheSuite:
    """The three at once, as in production."""

    @pytest.fixture
    def sources(self, of_suite: dict[str, Any]) -> dict[str, Any]:
        return of_suite

    async def test_what_happens_at_all_three_is_found_in_one_chain(
        self, world: World, suite: tuple[StandIn, Stalwart, Ocis]
    ) -> None:
        authentik, stalwart, ocis = suite
        hook = {
            "url": str(world.http.base_url.join("/webhooks/stalwart")),
            "signatureKey": {"@type": "Value", "secret": HOOK_KEY},
            "events": {"auth.success": True, "auth.failed": True},
            "throttle": 50,
        }
        await asyncio.to_thread(self.act, authentik, stalwart, ocis, hook)
        mail = await chained(world, 2, source="stalwart")
        assert [entry["action"] for entry in mail] == ["stalwart.auth_failed", "stalwart.auth_success"]
        assert {entry["actorEmail"] for entry in mail} == {"jane@mail.example"}
        assert {entry["actorIp"] for entry in mail} == {"127.0.0.1"}
        files = await chained(world, len(ocis.audit()), source="ocis")
        assert [entry["metadata"]["data"] for entry in files] == ocis.audit()
        count = authentik.api("GET", "/events/events/").json()["pagination"]["count"]
        await chained(world, count, source="authentik")
        verdict = await world.get("/api/audit/verify")
        assert verdict["ok"], verdict
        for name in ("authentik", "stalwart", "ocis"):
            assert (await world.source(name))["state"] == "ok"

    @staticmethod
    def act(authentik: StandIn, stalwart: Stalwart, ocis: Ocis, hook: dict[str, Any]) -> None:
        stalwart.create("WebHook", hook)
        stalwart.call("x:Action/set", {"create": {"a": {"@type": "ReloadSettings"}}})
        stalwart.user("jane", stalwart.domain("mail.example"))
        stalwart.sign_in("jane@mail.example", "wrong-Password-123")
        stalwart.sign_in("jane@mail.example", PASSWORD)
        ocis.drive("marketing")
        ocis.user("jane")
        assert authentik.token("dezky-portal", MEMBER).status_code == 200
        authentik.new_user("new@acme.example")
