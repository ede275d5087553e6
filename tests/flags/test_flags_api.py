"""Flags over HTTP, against a real MongoDB and a real NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.flags.main import build
from services.flags.settings import FlagsSettings
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person, tenant_person
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

CALLERS = Callers("flags")


def by_operator() -> dict[str, str]:
    """Made for each request: an internal token is good for 60 seconds."""
    return CALLERS.headers(operator())


ACME_ID = "0198c0de-0000-7000-8000-000000000001"


@pytest.fixture
async def client(service_environment: Any, mongo: Mongo) -> AsyncIterator[httpx.AsyncClient]:
    settings = FlagsSettings(**service_environment("flags"))
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http,
    ):

        async def seeded() -> bool:
            return await mongo.db["flags"].count_documents({}) == 10

        await eventually(seeded)
        await mongo.db["tenants"].insert_many(
            [
                _tenant("acme", ACME_ID, "business", "nordic"),
                _tenant("globex", "0198c0de-0000-7000-8000-000000000002", "starter", "fjord"),
            ]
        )
        yield http


def _tenant(slug: str, tenant_id: str, plan: str, partner: str) -> dict[str, Any]:
    return {"_id": slug, "tenant_id": tenant_id, "plan": plan, "partner": partner, "deleted": False, "version": 1}


async def test_ten_flags_come_with_the_platform_and_are_not_put_over_an_edit(
    client: httpx.AsyncClient, service_environment: Any, mongo: Mongo
) -> None:
    listed = (await client.get("/api/flags", headers=by_operator())).json()["items"]
    keys = [flag["key"] for flag in listed]
    assert len(keys) == 10
    assert {"jmap_native_v2", "gdpr_export_v2", "new_billing_engine", "oci_versioning"} <= set(keys)
    assert {flag["state"] for flag in listed} == {"off"}
    await client.patch("/api/flags/oci_versioning", json={"state": "on"}, headers=by_operator())
    await client.delete("/api/flags/usage_reports", headers=by_operator())
    again = FlagsSettings(**service_environment("flags"))
    app = build(again)
    async with LiveServer(app, again.port):
        await app.state.deps.flags.seed()
    flags = {flag["key"]: flag for flag in (await client.get("/api/flags", headers=by_operator())).json()["items"]}
    assert flags["oci_versioning"]["state"] == "on"
    assert "usage_reports" not in flags


async def test_a_rollout_is_previewed_raised_and_killed(client: httpx.AsyncClient, mongo: Mongo) -> None:
    preview = await client.get("/api/flags/oci_versioning/preview?state=on", headers=by_operator())
    assert preview.json() == {"matched": 2, "total": 2, "first": ["acme", "globex"]}
    path = "/api/flags/oci_versioning"
    change = {"state": "rollout", "pct": 100, "scope": {"plans": ["business"]}}
    changed = await client.patch(path, json={**change, "note": "pilot"}, headers=by_operator())
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    values = await client.post("/api/flags/evaluate", json={"tenantSlug": "acme"}, headers=by_operator())
    assert values.json()["oci_versioning"] is True
    other = await client.post("/api/flags/evaluate", json={"tenantSlug": "globex"}, headers=by_operator())
    assert other.json()["oci_versioning"] is False
    killed = (await client.post(f"{path}/kill", headers=by_operator())).json()
    assert (killed["state"], killed["pct"], killed["version"]) == ("off", 0, 3)
    assert [step["note"] for step in killed["history"]] == ["kill-switch", "pilot"]
    assert killed["history"][0]["actor"] == operator().id
    values = await client.post("/api/flags/evaluate", json={"tenantSlug": "acme"}, headers=by_operator())
    assert values.json()["oci_versioning"] is False
    types = [row["type"] async for row in mongo.db["outbox"].find({"aggregate": "flags/oci_versioning"}).sort("_id")]
    assert types == ["flag.created.v1", "flag.updated.v1", "flag.killed.v1"]


async def test_a_patch_to_off_with_the_kill_note_is_a_kill(client: httpx.AsyncClient, mongo: Mongo) -> None:
    await client.patch("/api/flags/oci_versioning", json={"state": "on"}, headers=by_operator())
    off = {"state": "off", "note": "kill-switch"}
    await client.patch("/api/flags/oci_versioning", json=off, headers=by_operator())
    assert await mongo.db["outbox"].count_documents({"type": "flag.killed.v1"}) == 1


async def test_history_keeps_the_last_twenty_changes(client: httpx.AsyncClient) -> None:
    for pct in range(1, 26):
        change = {"state": "rollout", "pct": pct}
        await client.patch("/api/flags/oci_versioning", json=change, headers=by_operator())
    flag = (await client.get("/api/flags/oci_versioning", headers=by_operator())).json()
    assert [step["changes"]["pct"]["after"] for step in flag["history"]] == list(range(25, 5, -1))


@pytest.mark.parametrize(
    ("caller", "slug", "status"),
    [
        (partner_person("nordic"), "acme", 200),
        (partner_person("nordic"), "globex", 404),
        (tenant_person("acme", "admin"), "acme", 200),
        (tenant_person("acme", "member"), "acme", 200),
        (tenant_person("acme", "member"), "globex", 404),
        (operator(), "globex", 200),
        (operator(), "nobody", 404),
    ],
)
async def test_everybody_evaluates_within_their_scope(
    client: httpx.AsyncClient, caller: Any, slug: str, status: int
) -> None:
    answer = await client.post("/api/flags/evaluate", json={"tenantSlug": slug}, headers=CALLERS.headers(caller))
    assert answer.status_code == status


@pytest.mark.parametrize("caller", [partner_person("nordic", "owner"), tenant_person("acme", "admin")])
async def test_definitions_are_for_operators(client: httpx.AsyncClient, caller: Any) -> None:
    headers = CALLERS.headers(caller)
    for method, path in (
        ("GET", "/api/flags"),
        ("GET", "/api/flags/oci_versioning"),
        ("POST", "/api/flags/oci_versioning/kill"),
        ("GET", "/api/flags/oci_versioning/preview"),
    ):
        refused = await client.request(method, path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")


async def test_a_flag_made_again_after_its_deletion_is_newer_than_the_old_one(client: httpx.AsyncClient) -> None:
    body = {"key": "my_flag", "description": "Mine", "state": "on"}
    assert (await client.post("/api/flags", json=body, headers=by_operator())).status_code == 201
    exists = await client.post("/api/flags", json=body, headers=by_operator())
    assert (exists.status_code, exists.json()["code"]) == (409, "flag_exists")
    assert (await client.delete("/api/flags/my_flag", headers=by_operator())).status_code == 204
    assert (await client.get("/api/flags/my_flag", headers=by_operator())).status_code == 404
    assert (await client.post("/api/flags", json=body, headers=by_operator())).json()["version"] == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pct": 101}, "pct"),
        ({"pct": "25"}, "pct"),
        ({"state": "maybe"}, "state"),
        ({"scope": {"plan": []}}, "scope.plan"),
        ({"scope": {"plans": ["$where"]}}, "scope.plans.0"),
        ({"state": None}, "state"),
        ({"note": "a\x00"}, "note"),
    ],
)
async def test_bad_input_names_the_field(client: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    refused = await client.patch("/api/flags/oci_versioning", json=change, headers=by_operator())
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert (await client.get("/api/flags/oci_versioning", headers=by_operator())).headers["etag"] == '"1"'
