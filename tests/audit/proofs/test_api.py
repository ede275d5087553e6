"""The routes of proofs over HTTP, in the whole service."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.audit import bundle
from services.audit.main import build
from services.audit.proofs.note import Signer
from services.audit.settings import AuditSettings
from shared.testing import Callers, operator, tenant_person
from tests.audit.proofs.conftest import ORIGIN, SEED, Witnessed
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

CALLERS = Callers("audit")


@pytest.fixture
async def client(environment: dict[str, Any], log: Witnessed) -> AsyncIterator[httpx.AsyncClient]:
    seed = base64.urlsafe_b64encode(SEED).rstrip(b"=").decode()
    settings = AuditSettings(**environment | {"checkpoint_keys": [{"seed": seed}], "log_origin": ORIGIN})
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await eventually(lambda: _ready(http))
        yield http


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def ask(client: httpx.AsyncClient, path: str, method: str = "GET", **query: Any) -> httpx.Response:
    return await client.request(method, f"/api/audit/{path}", params=query, headers=CALLERS.headers(operator()))


async def checkpoint(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "checkpoint", "POST")).is_success


async def test_an_outsider_goes_from_an_entry_to_the_signed_note(
    client: httpx.AsyncClient, log: Witnessed, tmp_path: Any
) -> None:
    await log.grow_log(9)
    await checkpoint(client)
    entry = (await client.get("/api/audit", headers=CALLERS.headers(operator()))).json()["items"][3]
    proven = (await ask(client, "proof/inclusion", seq=entry["seq"])).json()
    assert proven["leafHash"] == hashlib.sha256(b"\0" + bytes.fromhex(entry["hash"])).hexdigest()
    steps, root = [bytes.fromhex(step) for step in proven["proof"]], bytes.fromhex(proven["root"])
    assert bundle.includes(entry["seq"] - 1, 9, bytes.fromhex(proven["leafHash"]), steps, root)
    text, _ = bundle.note_signer(proven["checkpoint"]["note"], [Signer(ORIGIN, SEED).verifier.public])
    assert text == f"{ORIGIN}\n9\n{base64.b64encode(root).decode()}\n"
    grown = (await ask(client, "proof/consistency", first=4)).json()
    roots = bytes.fromhex(grown["firstRoot"]), bytes.fromhex(grown["secondRoot"])
    assert (grown["second"], roots[1]) == (9, root)
    assert bundle.extends(4, 9, roots, [bytes.fromhex(step) for step in grown["proof"]])
    answer = await ask(client, "export", fromSeq=3, action="tenant.*")
    assert answer.headers["content-type"] == "application/jsonl"
    (tmp_path / "log.jsonl").write_bytes(answer.content)
    with (tmp_path / "log.jsonl").open("rb") as lines:
        seen = bundle.verify(lines, [Signer(ORIGIN, SEED).verifier.public])
    assert seen.entries == 6
    assert (await ask(client, "proof/rebuild", "POST")).json()["leaves"] == 9


async def test_what_cannot_be_proven_is_a_clear_problem(client: httpx.AsyncClient, log: Witnessed) -> None:
    for path, method, query in (
        ("proof/inclusion", "GET", {"seq": 1}),
        ("proof/consistency", "GET", {"first": 1}),
        ("proof/rebuild", "POST", {}),
        ("export", "GET", {}),
    ):
        answer = await ask(client, path, method, **query)
        assert (answer.status_code, answer.json()["code"]) == (409, "checkpoint_missing")
        assert "POST /api/audit/checkpoint" in answer.json()["detail"]
        denied = await client.request(method, f"/api/audit/{path}", headers=CALLERS.headers(tenant_person()))
        assert denied.status_code == 403
    await log.grow_log(3)
    await checkpoint(client)
    for path, query in (
        ("proof/inclusion", {}),
        ("proof/inclusion", {"seq": 0}),
        ("proof/inclusion", {"seq": "one"}),
        ("proof/inclusion", {"seq": 4}),
        ("proof/inclusion", {"seq": 3, "size": 2}),
        ("proof/consistency", {"first": 1, "second": 4}),
        ("proof/consistency", {"first": 3, "second": 2}),
        ("export", {"toSeq": 4}),
        ("export", {"fromSeq": 3, "toSeq": 2}),
        ("export", {"tenant": "acme"}),
        ("export", {"action": "Tenant"}),
        ("export", {"since": "2026-11-22"}),
    ):
        answer = await ask(client, path, **query)
        assert answer.status_code == 422, (path, query)
        assert answer.json()["errors"], (path, query)
