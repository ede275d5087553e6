"""The main job through all of it: a partner creates, an operator suspends, and the log tells who did what."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.actors import system
from shared.clock import SystemClock
from shared.contracts import Resource
from shared.contracts.access import AuditAccessDenied
from shared.mongo import Mongo
from shared.outbox import Outbox
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

EXPORTED = 2_000
"""Entries of 12 KiB: four pages of an export, and more than the sockets on the way hold."""
STAFF = ("staff@nordic.example", "portal")
OPERATOR = ("operator@dezky.local", "operator")


def new_slug() -> str:
    return f"t-{secrets.token_hex(4)}"


async def entries_of(operator: httpx.AsyncClient, slug: str) -> list[dict[str, Any]]:
    answer = await operator.get("/api/audit", params={"tenantSlug": slug})
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


async def is_active(client: httpx.AsyncClient, slug: str) -> bool:
    return bool((await client.get(f"/api/tenants/{slug}")).json()["status"] == "active")


async def test_a_creation_and_a_suspension_are_in_the_log_with_actor_address_and_change(fleet: Fleet) -> None:
    slug = new_slug()
    async with fleet.client(*STAFF) as staff, fleet.client(*OPERATOR) as operator:
        created = await staff.post(
            "/api/tenants", json={"slug": slug, "name": "Acme Ltd", "plan": "business", "seats": 25}
        )
        assert created.status_code == 201, created.text
        refused = await staff.post(f"/api/tenants/{slug}/suspend", json={"reason": "unpaid"})
        assert (refused.status_code, refused.json()["code"]) == (403, "operator_token_required")
        await eventually(lambda: is_active(staff, slug))
        suspended = await operator.post(f"/api/tenants/{slug}/suspend", json={"reason": "unpaid"})
        assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")

        async def told() -> dict[str, dict[str, Any]]:
            found = {entry["action"]: entry for entry in await entries_of(operator, slug)}
            return found if {"tenant.created", "tenant.access_denied", "tenant.suspended"} <= found.keys() else {}

        entries = await eventually(told)
    created_entry, denied_entry = entries["tenant.created"], entries["tenant.access_denied"]
    suspended_entry = entries["tenant.suspended"]
    assert (created_entry["action"], created_entry["actorEmail"], created_entry["actorIp"]) == (
        "tenant.created",
        STAFF[0],
        "127.0.0.1",
    )
    assert (denied_entry["action"], denied_entry["outcome"]) == ("tenant.access_denied", "denied")
    assert suspended_entry["actorEmail"] == OPERATOR[0]
    assert suspended_entry["surface"] == "operator"
    assert suspended_entry["metadata"]["changes"]["status"] == {"before": "active", "after": "suspended"}


@pytest.mark.parametrize("forged", ["x-dezky-client-ip", "x_dezky_client_ip", "x-forwarded-for", "x-real-ip"])
async def test_a_forged_header_from_outside_reaches_no_entry(fleet: Fleet, forged: str) -> None:
    slug = new_slug()
    async with fleet.client(*STAFF) as staff, fleet.client(*OPERATOR) as operator:
        body = {"slug": slug, "name": "Acme", "plan": "business", "seats": 1}
        await staff.post("/api/tenants", json=body, headers={forged: "198.51.100.66"})
        found = await eventually(lambda: entries_of(operator, slug))
    assert found[0]["actorIp"] == "127.0.0.1"


async def test_a_service_that_is_reached_around_the_gateway_refuses(fleet: Fleet) -> None:
    outside = {"authorization": f"Bearer {fleet.token(*STAFF)}"}
    async with httpx.AsyncClient() as client:
        for offset in (1, 5):
            for headers in ({}, outside, {"x-dezky-principal": "operator"}):
                answer = await client.get(f"{fleet.place.url(offset)}/api/tenants", headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_verification_is_ok_until_root_edits_an_entry_and_then_names_it(fleet: Fleet) -> None:
    slug = new_slug()
    async with fleet.client(*STAFF) as staff, fleet.client(*OPERATOR) as operator:
        await staff.post("/api/tenants", json={"slug": slug, "name": "Acme", "plan": "business", "seats": 1})
        entry = (await eventually(lambda: entries_of(operator, slug)))[0]
        verified = (await operator.get("/api/audit/verify")).json()
        assert verified["ok"] is True
        assert verified["verified"] == verified["headSeq"]
        with fleet.root() as root:
            entries = root["audit"]["entries"]
            entries.update_one({"seq": entry["seq"]}, {"$set": {"action": "tenant.deleted"}})
            broken = (await operator.get("/api/audit/verify")).json()
            entries.update_one({"seq": entry["seq"]}, {"$set": {"action": entry["action"]}})
        assert broken["ok"] is False
        assert (broken["break"]["kind"], broken["break"]["seq"]) == ("event-hash-mismatch", entry["seq"])
        assert broken["break"]["expected"] == entry["hash"] or broken["break"]["actual"] == entry["hash"]
        assert (await operator.get("/api/audit/verify")).json()["ok"] is True


async def store_refusals(fleet: Fleet, slug: str, count: int) -> None:
    """Let audit publish, and chain, refusals of `slug` with operations of 12 KiB."""
    refused = AuditAccessDenied(
        actor=system("tests"),
        outcome="denied",
        resource=Resource(type="operation", id=slug, tenant_slug=slug),
        operation="x" * 12_288,
        code="insufficient_role",
    )
    mongo = Mongo(fleet.root_uri(), "audit", "tests")
    outbox = Outbox(mongo, "audit", SystemClock())
    for _ in range(0, count, 250):
        await mongo.transactions.run(lambda tx: outbox.add(tx, *[refused] * 250))

    async def chained() -> bool:
        return await mongo.db["entries"].count_documents({"tenantSlug": slug}) == count

    await eventually(chained, seconds=60, what=f"{count} entries")
    await mongo.close()


class Exporting:
    """What the audit process says of its exports, and what it and the gateway take of memory."""

    def __init__(self, fleet: Fleet, client: httpx.AsyncClient) -> None:
        self._fleet = fleet
        self._client = client
        self._seen: list[float] = []

    async def value(self, name: str) -> float:
        text = (await self._client.get(f"{self._fleet.place.url(5)}/metrics")).text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    async def pages(self) -> float:
        return await self.value("dezky_audit_export_pages_total")

    async def ended(self) -> bool:
        return await self.value("dezky_audit_exports_running") == 0

    async def held_up(self) -> bool:
        """Whether no page was read between the last ten looks."""
        self._seen.append(await self.pages())
        return len(self._seen) >= 10 and len(set(self._seen[-10:])) == 1

    def peak(self, process: str) -> int:
        """The most memory that a process has had so far, in KiB."""
        status = Path(f"/proc/{self._fleet.pid(process)}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


async def test_an_export_through_the_gateway_is_read_as_far_as_its_client_takes_it(fleet: Fleet) -> None:
    slug = new_slug()
    query = {"tenantSlug": slug, "format": "ndjson"}
    await store_refusals(fleet, slug, EXPORTED)
    async with fleet.client(*OPERATOR) as operator, httpx.AsyncClient() as client:
        audit = Exporting(fleet, client)
        before = await audit.pages()
        async with operator.stream("GET", "/api/audit", params=query) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_raw())
            await eventually(audit.held_up, pause=0.05, what="nothing more is read")
            assert 1 <= await audit.pages() - before < 4
        await eventually(audit.ended, what="the export ends with its client")
        assert await audit.pages() - before < 4
        before, peaks = await audit.pages(), {name: audit.peak(name) for name in ("gateway", "audit")}
        async with operator.stream("GET", "/api/audit", params=query) as answer:
            seqs = [json.loads(line)["seq"] async for line in answer.aiter_lines()]
        assert seqs == sorted(set(seqs), reverse=True)
        assert (len(seqs), await audit.pages() - before) == (EXPORTED, 4)
        grown = {name: audit.peak(name) - peak for name, peak in peaks.items()}
        assert (grown["gateway"] < 8_192, grown["audit"] < 32_768) == (True, True), grown  # of 24 MiB
