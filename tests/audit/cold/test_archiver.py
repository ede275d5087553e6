"""Archiving: nothing leaves MongoDB before it is safe, whatever crashes and however the store lies."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from services.audit.cold.archiver import Limits
from services.audit.cold.models import ArchiveDamaged, ArchiveRefused, ArchiveRunning
from services.audit.cold.object_store import StoreUnavailable
from services.audit.cold.service import ArchiveSchedule
from services.audit.personal import Vault
from shared.clock import rfc3339
from shared.leases import Lease, LeaseLost
from shared.mongo import Database
from tests.audit.cold.conftest import OLGA, SIGNING_KEY, Crash, Rig, Steps
from tests.audit.cold.fake_s3 import FAULTS
from tests.audit.memory import verify
from tests.torture.kept import keep, kept

Entries = list[dict[str, Any]]
CALLS = [("put", n) for n in (1, 2, 3, 4)] + [("get", n) for n in range(1, 8)] + [("list", 1), ("list", 2)]


async def in_some_tier(rig: Rig, ten: Entries) -> None:
    """Every entry can be had from the two tiers together, as it was."""
    assert await rig.walked() == ten


async def test_old_entries_leave_the_database_and_every_one_is_still_in_the_log(
    rig: Rig, ten: Entries, root_db: Database, vault: Vault
) -> None:
    ran = await rig.run()
    assert [(row["startSeq"], row["endSeq"]) for row in ran.batches] == [(1, 4), (5, 8), (9, 10)]
    assert await root_db["entries"].count_documents({}) == 0
    await in_some_tier(rig, ten)
    verdict = await verify(rig.log, vault)
    assert (verdict.broken, verdict.verified, await rig.log.archived_up_to()) == (None, 10, 10)


async def test_what_is_stored_is_what_the_document_says(rig: Rig, ten: Entries, root_db: Database) -> None:
    await rig.run()
    previous = "0" * 64
    key = hmac.digest(SIGNING_KEY, b"dezky-audit/archive-manifest/v1", hashlib.sha256)
    for row in await root_db["archives"].find().sort("_id", 1).to_list():
        stored = rig.s3.objects[row["manifestKey"]]
        manifest = json.loads(stored)
        packed = rig.s3.objects[manifest["jsonlKey"]]
        lines = gzip.decompress(packed)
        said = manifest.pop("signature")
        signed = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        import base64

        assert base64.b64decode(said) == hmac.digest(key, signed, hashlib.sha256)
        assert manifest["sha256Gzip"] == hashlib.sha256(packed).hexdigest()
        assert manifest["sha256Jsonl"] == hashlib.sha256(lines).hexdigest()
        assert manifest["bytesUncompressed"] == len(lines)
        assert manifest["prevManifestSha256"] == previous
        assert packed[4:8] == bytes(4)  # RFC 1952: MTIME
        members = [json.loads(line) for line in lines.splitlines()]
        assert [m["hash"] for m in members] == [e["hash"] for e in ten[row["startSeq"] - 1 : row["endSeq"]]]
        previous = hashlib.sha256(stored).hexdigest()
        assert previous == row["manifestSha256"]


async def test_young_entries_stay_and_so_does_what_no_checkpoint_covers(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await root_db["checkpoints"].insert_one({"_id": 1, "headSeq": 6, "at": "2026-11-22T12:30:00.000Z"})
    ran = await rig.run(limits=Limits(hot_days=101))
    assert ran.batches == ()
    ran = await rig.run()
    assert [row["endSeq"] for row in ran.batches] == [4, 6]
    assert await root_db["entries"].count_documents({}) == 4


async def test_an_event_with_a_time_to_come_does_not_hold_archiving_up_once_a_checkpoint_covers_it(
    chain: Any, rig: Rig, root_db: Database
) -> None:
    from tests.audit.events import encode, tenant_event

    await chain(encode(tenant_event(1), tenant_event(2, time="2199-01-01T00:00:00.000Z"), tenant_event(3)))
    assert [row["endSeq"] for row in (await rig.run()).batches] == [1]
    await root_db["checkpoints"].insert_one({"_id": 1, "headSeq": 3, "at": "2026-11-22T12:30:00.000Z"})
    assert [row["endSeq"] for row in (await rig.run()).batches] == [3]


async def crash_everywhere(rig: Rig, ten: Entries, root_db: Database, *, every: int, start: int = 1) -> int:
    """Crash at a step, look, restart until it ends well; again at the next step. Returns how often it crashed."""
    at, crashes = start, 0
    while True:
        await root_db["entries"].delete_many({})
        await root_db["archives"].delete_many({})
        await root_db["entries"].insert_many(ten)
        rig.s3.objects.clear()
        try:
            await rig.run(Steps(at))
        except Crash:
            crashes += 1
            await in_some_tier(rig, ten)
        else:
            return crashes
        await rig.run()
        assert await root_db["entries"].count_documents({}) == 0
        assert [r["endSeq"] async for r in root_db["archives"].find().sort("_id", 1)] == [4, 8, 10]
        await in_some_tier(rig, ten)
        at += every


async def test_a_crash_at_any_step_loses_nothing_and_the_next_run_ends_well(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    assert await crash_everywhere(rig, ten, root_db, every=17) >= 5


@pytest.mark.torture
@pytest.mark.timeout(7200)
async def test_a_crash_at_every_step_a_hundred_times(rig: Rig, ten: Entries, root_db: Database) -> None:
    crashes = [await crash_everywhere(rig, ten, root_db, every=1) for _ in range(100)]
    assert min(crashes) > 60
    keep("archive_crashes", {"rounds": 100, "steps": min(crashes), "crashes": sum(crashes), "lost": 0})


async def lie(rig: Rig, ten: Entries, root_db: Database, call: str, number: int, fault: str) -> None:
    rig.s3.fail(call, number, fault)
    try:
        await rig.run()
    except (StoreUnavailable, ArchiveDamaged):
        rig.s3.faults.clear()
        await in_some_tier(rig, ten)
        await rig.run()
    assert await root_db["entries"].count_documents({}) == 0
    await in_some_tier(rig, ten)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_store_that_lies_once_costs_no_entry(rig: Rig, ten: Entries, root_db: Database, fault: str) -> None:
    for call, number in [("put", 1), ("put", 2), ("get", 1), ("get", 3)]:
        await root_db["entries"].delete_many({})
        await root_db["archives"].delete_many({})
        await root_db["entries"].insert_many(ten)
        rig.s3.objects.clear()
        await lie(rig, ten, root_db, call, number, fault)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_store_that_lies_at_every_call_a_hundred_times(
    rig: Rig, ten: Entries, root_db: Database, fault: str
) -> None:
    for _ in range(100):
        for call, number in CALLS:
            await root_db["entries"].delete_many({})
            await root_db["archives"].delete_many({})
            await root_db["entries"].insert_many(ten)
            rig.s3.objects.clear()
            await lie(rig, ten, root_db, call, number, fault)
    told = {**kept("archive_lies").get("lies", {}), fault: 100 * len(CALLS)}
    keep("archive_lies", {"calls": len(CALLS), "lies": told, "lost": 0})


async def test_an_altered_entry_is_not_archived(rig: Rig, ten: Entries, root_db: Database) -> None:
    await root_db["entries"].update_one({"_id": 6}, {"$set": {"outcome": "denied"}})
    with pytest.raises(ArchiveRefused, match="entry 6"):
        await rig.run()
    assert await root_db["entries"].count_documents({}) == 6  # the first batch of four was whole


async def test_an_entry_that_differs_from_its_archived_form_is_not_removed(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await rig.run()
    await rig.restore(1)
    await root_db["entries"].update_one({"_id": 2}, {"$set": {"sealed": []}})
    rig.clock.advance(timedelta(days=8))
    with pytest.raises(ArchiveRefused, match="entry 2"):
        await rig.run()
    assert await root_db["entries"].count_documents({"_id": 2}) == 1


async def test_a_restored_batch_is_removed_later_without_being_written_again(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await rig.run()
    before = dict(rig.s3.objects)
    assert (await rig.restore(5))["tier"] == "restored"
    assert [e["_id"] async for e in root_db["entries"].find().sort("_id", 1)] == [5, 6, 7, 8]
    await in_some_tier(rig, ten)
    assert (await rig.run()).removed == ()
    rig.clock.advance(timedelta(days=7))
    assert (await rig.run()).removed == (5,)
    assert await root_db["entries"].count_documents({}) == 0
    assert rig.s3.objects == before


async def test_a_damaged_batch_is_not_restored(rig: Rig, ten: Entries, root_db: Database) -> None:
    await rig.run()
    row = await root_db["archives"].find_one({"_id": 5})
    assert row is not None
    rig.s3.objects[row["jsonlKey"]] = rig.s3.objects[row["jsonlKey"]][:-1] + b"x"
    with pytest.raises(ArchiveDamaged, match="from 5 on"):
        await rig.restore(5)
    assert await root_db["entries"].count_documents({}) == 0


async def test_one_archiver_works_at_a_time(rig: Rig, ten: Entries) -> None:
    first, second = rig.tenure("one"), rig.tenure("two")
    async with first.held():
        for tenure in (first, second):
            with pytest.raises(ArchiveRunning):
                async with tenure.held():
                    pass
    async with second.held():
        pass


async def test_an_archiver_that_lost_its_lease_records_and_removes_nothing(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    tenure = rig.tenure()
    async with tenure.held():
        await root_db["leases"].update_one(
            {"_id": "audit-archive"}, {"$set": {"expiresAt": rig.clock.now() - timedelta(days=999)}}
        )
        assert await Lease(rig.mongo.db, "audit-archive", "another").acquire()
        with pytest.raises(LeaseLost):
            await rig.archiver(tenure).run()
    assert await root_db["entries"].count_documents({}) == 10
    assert await root_db["archives"].count_documents({}) == 0


async def test_the_scheduled_run_happens_once_a_day_after_its_hour(rig: Rig, ten: Entries) -> None:
    tenure = rig.tenure()
    hour = rig.clock.now().hour
    schedule = ArchiveSchedule(tenure, rig.archiver(tenure), rig.own, rig.clock, hour + 1)
    assert not await schedule.tick()
    rig.clock.advance(timedelta(hours=1))
    rig.s3.fail("put", 1, "500")
    with pytest.raises(StoreUnavailable):
        await schedule.tick()
    assert await schedule.tick()
    assert not await schedule.tick()
    rig.clock.advance(timedelta(hours=23))
    assert not await schedule.tick()
    rig.clock.advance(timedelta(hours=1))
    assert await schedule.tick()


async def told(root_db: Database) -> list[tuple[str, str, str]]:
    """Type, subject and actor of each event in the outbox, in the order of their making."""
    rows = await root_db["outbox"].find().sort("_id", 1).to_list()
    return [(row["type"], row["aggregate"], row["envelope"]["data"]["actor"]["id"]) for row in rows]


async def test_each_batch_is_told_in_the_transaction_that_records_or_restores_it(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await rig.run()
    batches = [("audit.batch_archived.v1", f"archives/{start}", "audit-archive") for start in (1, 5, 9)]
    assert await told(root_db) == batches
    (row,) = await root_db["outbox"].find({"aggregate": "archives/5"}).to_list()
    batch = await root_db["archives"].find_one({"_id": 5})
    assert batch is not None
    said = row["envelope"]["data"]["batch"]
    assert said == {name: batch[name] for name in said}
    assert {"startSeq", "endSeq", "eventCount", "manifestSha256", "jsonlKey", "manifestKey"} < said.keys()
    await rig.restore(5)
    assert await told(root_db) == [*batches, ("audit.batch_restored.v1", "archives/5", OLGA.id)]
    (row,) = await root_db["outbox"].find({"type": "audit.batch_restored.v1"}).to_list()
    assert row["envelope"]["data"]["until"] == rfc3339(rig.clock.now() + timedelta(days=7))


async def test_what_is_not_recorded_is_not_told_and_a_crash_tells_nothing_twice(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    tenure = rig.tenure()
    async with tenure.held():
        await root_db["leases"].update_one({"_id": "audit-archive"}, {"$inc": {"token": 1}})
        with pytest.raises(LeaseLost):
            await rig.archiver(tenure).requested(OLGA)
        with pytest.raises(LeaseLost):
            await rig.archiver(tenure).run(OLGA)
    assert await told(root_db) == []
    await root_db["leases"].delete_many({})
    for at in range(1, 200, 13):
        try:
            await rig.run(Steps(at))
        except Crash:
            continue
        break
    assert sorted(await told(root_db)) == [
        ("audit.batch_archived.v1", f"archives/{start}", "audit-archive") for start in (1, 5, 9)
    ]
