"""Archives over HTTP, with the service as it is wired."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from services.audit.main import build
from services.audit.settings import AuditSettings
from shared.mongo import Database
from shared.testing import Callers, operator, person, seed_of
from tests.audit.cold.conftest import SIGNING_KEY
from tests.audit.cold.fake_s3 import FakeS3
from tests.audit.events import PERSONAL_KEY
from tests.audit.memory import checkpoint, signatures
from tests.support.servers import LiveServer, TestDatabase
from tests.support.waiting import eventually

CALLERS = Callers("audit")


def _key(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@asynccontextmanager
async def serving(environment: Any, database: TestDatabase, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    keys = {"personal_key": _key(PERSONAL_KEY), "signing_key": _key(SIGNING_KEY)}
    settings = AuditSettings(**environment("audit", mongo_uri=database.uri, **keys, **more))

    async def ready() -> bool:
        return (await http.get("/readyz")).status_code == 200

    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, headers=CALLERS.headers(operator())) as http,
    ):
        await eventually(ready)
        yield http


async def test_operators_archive_list_and_restore(
    service_environment: Any, audit_database: TestDatabase, archiver_uri: str, s3: FakeS3, ten: Any, root_db: Database
) -> None:
    hashes = [row["hash"] for row in await root_db["entries"].find({"_id": {"$lte": 6}}).sort("_id", 1).to_list()]
    row = checkpoint(1, hashes, None) | {"at": "2020-01-01T00:00:00.000Z"}
    row["signatures"] = signatures(row, SIGNING_KEY, seed_of("checkpoint"))
    await root_db["checkpoints"].insert_one(row)
    cold = {"cold_endpoint": s3.url, "cold_access_key": "key", "cold_secret_key": "secret"}
    async with serving(service_environment, audit_database, archiver_mongo_uri=archiver_uri, **cold) as http:
        assert (await http.post("/api/audit/checkpoint")).json()["headSeq"] == 10
        ran = (await http.post("/api/audit/archive/run")).json()
        assert [(b["startSeq"], b["endSeq"], b["eventCount"]) for b in ran["batches"]] == [(1, 6, 6)]
        assert (ran["removed"], ran["more"]) == ([], False)
        listed = (await http.get("/api/audit/archives")).json()
        assert [(b["startSeq"], b["tier"]) for b in listed["items"]] == [(1, "cold")]
        page = (await http.get("/api/audit", params={"limit": 8})).json()
        assert [entry["seq"] for entry in page["items"]] == [10, 9, 8, 7, 6, 5, 4, 3]
        assert page["items"][4]["actorEmail"] == "Jane@Nordic.example"
        page = (await http.get("/api/audit", params={"limit": 8, "cursor": page["next"]})).json()
        assert ([entry["seq"] for entry in page["items"]], page["next"]) == ([2, 1], None)
        verdict = (await http.get("/api/audit/verify")).json()
        assert (verdict["ok"], verdict["verified"], verdict["oldestHotSeq"]) == (True, 10, 7)
        assert verdict["highestArchivedSeq"] == 6
        bundle = (await http.get("/api/audit/export")).text
        assert bundle.count('"kind":"entry"') == 10
        assert (await http.post("/api/audit/archives/1/restore")).json()["tier"] == "restored"
        assert (await http.post("/api/audit/archives/2/restore")).status_code == 404
        assert (await http.post("/api/audit/archive/run")).json()["batches"] == []
        expected = [
            "audit.archive_requested",
            "audit.batch_archived",
            "audit.batch_restored",
            "audit.archive_requested",
        ]
        told = await eventually(lambda: _archiving(http, len(expected)))
        assert [entry["action"] for entry in told] == expected
        assert {(entry["actorEmail"], entry["surface"]) for entry in told} == {(operator().email, "operator")}
        assert (told[1]["resourceId"], told[1]["metadata"]["data"]["batch"]["endSeq"]) == ("1", 6)
        assert told[1]["metadata"]["data"]["batch"]["manifestSha256"] == listed["items"][0]["manifestSha256"]
        refused = await http.post("/api/audit/archive/run", headers=CALLERS.headers(person()))
        assert refused.status_code == 403


async def _archiving(http: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    """The entries on archiving, the oldest first, once there are so many."""
    found = (await http.get("/api/audit", params={"source": "audit", "action": "audit.*"})).json()["items"]
    return found[::-1] if len(found) >= count else []


async def test_without_cold_storage_the_routes_say_so_and_everything_else_works(
    service_environment: Any, audit_database: TestDatabase, ten: Any
) -> None:
    async with serving(service_environment, audit_database) as http:
        for path in ("/api/audit/archive/run", "/api/audit/archives/1/restore"):
            answer = await http.post(path)
            assert (answer.status_code, answer.json()["code"]) == (409, "cold_storage_not_configured")
        assert (await http.get("/api/audit/archives")).json() == {"items": [], "next": None}
        assert len((await http.get("/api/audit")).json()["items"]) == 10
        assert (await http.get("/api/audit/verify")).json()["ok"] is True
