"""A whole fleet is backed up while people work, loses both servers and all keys, and comes back by `make restore`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.remains import STREAM, Remains
from tests.end_to_end.test_erasure import (
    Visitor,
    admin_who_stays,
    invited,
    live_a_little,
    set_password,
    settled,
    told_by_the_provider,
)
from tests.end_to_end.test_kills import SERVICES
from tests.support.fleet import Fleet, command, persistently, start_fleet
from tests.torture.kept import keep

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]

WRITERS = 4
SETTLED_SECONDS = 180.0


async def run(fleet: Fleet, *words: str, expect: int = 0) -> str:
    """Run a command of the runner, as make does; return what it says."""
    done = await asyncio.to_thread(command, fleet.place, *words)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


async def write(fleet: Fleet, acknowledged: list[str], done: asyncio.Event) -> None:
    """Create one tenant after the other, as a partner's people do."""
    async with fleet.client("staff@nordic.example", "portal") as staff:
        while not done.is_set():
            slug = f"t-{secrets.token_hex(6)}"
            body = {"slug": slug, "name": slug, "plan": "business", "seats": 3}
            answer = await persistently(staff, "POST", "/api/tenants", json=body, headers={"idempotency-key": slug})
            assert answer.status_code == 201, answer.text
            acknowledged.append(slug)


async def back_up_under_load(fleet: Fleet, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Back up while partners create tenants; return those that were acknowledged before it began, and figures."""
    acknowledged: list[str] = []
    done = asyncio.Event()
    writers = [asyncio.create_task(write(fleet, acknowledged, done)) for _ in range(WRITERS)]
    while len(acknowledged) < 40:
        await asyncio.sleep(0.1)
        assert not [task for task in writers if task.done()]
    before = list(acknowledged)
    began = time.monotonic()
    said = await run(fleet, "backup", "--to", str(folder))
    seconds = time.monotonic() - began
    done.set()
    await asyncio.gather(*writers)
    assert len(acknowledged) > len(before)
    return before, {"backup": said.splitlines()[0], "backup_seconds": round(seconds, 1)}


async def known_to(client: httpx.AsyncClient, slugs: list[str]) -> list[str]:
    return [slug for slug in slugs if (await client.get(f"/api/tenants/{slug}")).status_code == 200]


async def test_a_fleet_that_lost_its_servers_and_its_keys_comes_back_and_forgets_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = await asyncio.to_thread(start_fleet, tmp_path / "home")
    try:
        await story(fleet, monkeypatch)
    finally:
        await run(fleet, "down")


async def story(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = secrets.token_hex(4)
    name, email, slug, password = f"Wilhelmina{mark}", f"w.{mark}@dezky.local", f"t-{mark}", secrets.token_urlsafe(12)
    address, folder = "127.101.102.103", fleet.place.backups / "one"
    needles = [name.lower().encode(), email.encode(), address.encode()]
    async with fleet.client("operator@dezky.local", "operator") as operator, Visitor(fleet, address) as person:
        async with fleet.client("staff@nordic.example", "portal") as staff:
            body = {"slug": slug, "name": "Acme", "plan": "business", "seats": 5}
            assert (await staff.post("/api/tenants", json=body)).status_code == 201
        await admin_who_stays(fleet, operator, slug)
        them = (await invited(operator, f"/api/tenants/{slug}/users", email=email, name=name, role="admin"))["userId"]
        await invited(operator, "/api/partners/nordic/users", email=email, name=name, role="staff")
        await set_password(fleet, email, password)
        await person.sign_in(email, password)
        await live_a_little(person, slug, email)
        await told_by_the_provider(operator, "login", actorEmail=email)
        await settled(fleet, SETTLED_SECONDS)
        acknowledged, figures = await back_up_under_load(fleet, folder)
        gone = await operator.post(f"/api/users/{them}/erase")
        assert gone.status_code == 200, gone.text
        await settled(fleet, SETTLED_SECONDS)
        assert (await operator.post("/api/audit/checkpoint")).is_success
    await run(fleet, "erasures")
    assert "The fleet is running. Run `make down` first" in await run(fleet, "restore", str(folder), expect=2)
    await run(fleet, "down")
    assert "mongod holds data. A restore replaces nothing" in await run(fleet, "restore", str(folder), expect=2)
    for lost in (fleet.place.state / "mongod", fleet.place.state / "nats", fleet.place.secrets):
        shutil.rmtree(lost)

    began = time.monotonic()
    said = await run(fleet, "restore", str(folder))
    figures["restore_seconds"] = round(time.monotonic() - began, 1)
    assert "Restored. 1 people are erased, in every service" in said
    await run(fleet, "up")
    async with fleet.client("operator@dezky.local", "operator") as operator:
        await settled(fleet, SETTLED_SECONDS)
        assert await known_to(operator, acknowledged) == acknowledged
        once(fleet)
        # What the witness saw after the backup is gone: whoever asks is told so, and nothing is signed any more. The
        # log ends sooner, or has grown past the witness's word with another history.
        verified = (await operator.get("/api/audit/verify")).json()
        assert verified["break"]["kind"] in {"truncated-tail", "checkpoint-signature-mismatch"}
        refused = await operator.post("/api/audit/checkpoint")
        assert (refused.status_code, refused.json()["code"]) == (409, "checkpoint_refused")

    # The procedure of docs/backup.md: keep the old bucket, name a new witness.
    await run(fleet, "down")
    monkeypatch.setenv("DEZKY_WITNESS_BUCKET", "dezky-audit-witness-2")
    await run(fleet, "up")
    async with fleet.client("operator@dezky.local", "operator") as operator:
        await settled(fleet, SETTLED_SECONDS)
        left = {needle: await Remains(fleet, operator).places_of([needle]) - {f"stream {STREAM}"} for needle in needles}
        assert left == {needle: set() for needle in needles}, left
        verified = (await operator.get("/api/audit/verify")).json()
        assert (verified["ok"], verified.get("break")) == (True, None)
    result = {"acknowledged_before": len(acknowledged), "lost": 0, "erased_found": 0, "entries": verified["headSeq"]}
    print(keep("backup", figures | result))


def once(fleet: Fleet) -> None:
    """Every event that any service ever committed has exactly one entry."""
    with fleet.root() as root:
        logged = [row["id"] for row in root["audit"]["entries"].find({}, {"id": 1})]
        assert len(logged) == len(set(logged))
        committed: set[Any] = {row["_id"] for name in SERVICES for row in root[name]["outbox"].find({}, {"_id": 1})}
    assert committed <= set(logged)
