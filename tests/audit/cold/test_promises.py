"""The archiver's promises one by one: the fence, the day, the read-back, the signature, the chain of manifests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
import rfc8785

from services.audit.cold.archiver import Limits
from services.audit.cold.journal import Journal
from services.audit.cold.manifest import ManifestDamagedError, ManifestSigner
from services.audit.cold.models import ArchiveDamaged, ArchiveRunning
from services.audit.cold.mover import Mover, Tenure
from services.audit.cold.object_store import Access, ObjectStore, StoreUnavailable
from services.audit.cold.repository import ArchiveRepository
from services.audit.cold.service import ArchiveSchedule
from services.audit.models import Stored
from services.audit.personal import Vault
from shared.leases import Lease, LeaseLost
from shared.mongo import Database
from shared.outbox import Outbox
from tests.audit.cold.conftest import OLGA, Rig
from tests.audit.cold.fake_s3 import IMPATIENT_SECONDS, FakeS3
from tests.audit.cold.test_archiver import Entries, in_some_tier, lie
from tests.audit.memory import verify


class Robbed(Mover):
    """Loses its lease right before a kind of transaction, the so-manieth of its kind."""

    def __init__(self, rig: Rig, tenure: Tenure, before: str, number: int = 1) -> None:
        super().__init__(rig.mongo.transactions, rig.own, tenure, Journal(Outbox(rig.mongo, "audit", rig.clock)))
        self._db = rig.mongo.db
        self._before = before
        self._left = number

    async def _rob(self, before: str) -> None:
        self._left -= before == self._before
        if before == self._before and self._left == 0:
            await self._db["leases"].update_one({"_id": "audit-archive"}, [{"$set": {"expiresAt": "$$NOW"}}])
            assert await Lease(self._db, "audit-archive", "another").acquire()

    async def record(self, *args: Any) -> None:
        await self._rob("record")
        await super().record(*args)

    async def restore(self, *args: Any) -> None:
        await self._rob("restore")
        await super().restore(*args)

    async def _mark(self, *args: Any) -> None:
        await self._rob("mark")
        await super()._mark(*args)

    async def _remove(self, chunk: list[Stored]) -> None:
        await self._rob("remove")
        await super()._remove(chunk)

    async def _put_back(self, chunk: list[Stored]) -> None:
        await self._rob("put back")
        await super()._put_back(chunk)


async def state(db: Database) -> tuple[list[int], list[tuple[int, str]], int]:
    """The numbers of the hot entries, the batches with their tiers, how many events there are."""
    return (
        [row["_id"] async for row in db["entries"].find({}, {"_id": 1}).sort("_id", 1)],
        [(row["_id"], row["tier"]) async for row in db["archives"].find().sort("_id", 1)],
        await db["outbox"].count_documents({}),
    )


TEN = list(range(1, 11))
LAST = [5, 6, 7, 8, 9, 10]
ROBBERIES = [
    ("record", 1, (TEN, [], 0)),
    ("mark", 1, (TEN, [(1, "leaving")], 1)),
    ("remove", 1, (TEN, [(1, "leaving")], 1)),
    ("mark", 2, (LAST, [(1, "leaving")], 1)),
    ("record", 2, (LAST, [(1, "cold")], 1)),
]


async def test_an_archiver_that_loses_its_lease_before_any_transaction_changes_nothing_more(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    for before, number, left in ROBBERIES:
        for name in ("entries", "archives", "outbox", "leases"):
            await root_db[name].delete_many({})
        await root_db["entries"].insert_many(ten)
        rig.s3.objects.clear()
        tenure = rig.tenure()
        async with tenure.held():
            with pytest.raises(LeaseLost):
                await rig.archiver(tenure, mover=Robbed(rig, tenure, before, number)).run()
        assert await state(root_db) == left, before


@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("restore", ([], "cold", 0)),
        ("put back", ([], "restoring", 1)),
        ("mark", (TEN, "restoring", 1)),
    ],
)
async def test_a_restore_that_loses_its_lease_changes_nothing_more(
    rig: Rig, ten: Entries, root_db: Database, before: str, left: tuple[list[int], str, int]
) -> None:
    await rig.run(limits=Limits())
    await root_db["outbox"].delete_many({})
    tenure = rig.tenure()
    async with tenure.held():
        with pytest.raises(LeaseLost):
            await rig.archiver(tenure, mover=Robbed(rig, tenure, before)).restore(1, OLGA)
    hot, tier, told = left
    assert await state(root_db) == (hot, [(1, tier)], told)


class Late(ArchiveRepository):
    """Has read the day before another replica set it."""

    asked = 0

    async def last_day(self) -> str | None:
        self.asked += 1
        return None if self.asked == 1 else await super().last_day()


async def test_the_replica_that_comes_second_on_a_day_archives_nothing(rig: Rig, ten: Entries) -> None:
    first, second = rig.tenure("one"), rig.tenure("two")
    hour = rig.clock.now().hour
    one = ArchiveSchedule(first, rig.archiver(first), rig.own, rig.clock, hour)
    two = ArchiveSchedule(second, rig.archiver(second), Late(rig.mongo.db), rig.clock, hour)
    async with first.held():
        with pytest.raises(ArchiveRunning):
            await two.tick()
    assert await one.tick()
    late = ArchiveSchedule(second, rig.archiver(second), Late(rig.mongo.db), rig.clock, hour)
    assert not await late.tick()


async def test_the_day_is_that_of_utc_and_counts_once_everything_old_is_archived(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    tenure = rig.tenure()
    day = rig.clock.now().date()
    schedule = ArchiveSchedule(tenure, rig.archiver(tenure), rig.own, rig.clock, 0)
    assert await schedule.tick()
    assert await root_db["entries"].count_documents({}) == 0
    assert (await root_db["archive_state"].find_one({}) or {})["day"] == day.isoformat()
    rig.clock.advance(timedelta(hours=24) - (rig.clock.now() - rig.clock.now().replace(hour=0, minute=0, second=0)))
    assert rig.clock.now().date() == day + timedelta(days=1)
    assert await schedule.tick()


async def test_lines_that_are_not_what_their_signed_manifest_says_are_neither_recorded_nor_removed(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await rig.run(limits=Limits())
    row = await root_db["archives"].find_one({})
    assert row is not None
    wrong = dataclasses.replace(rig.signer.opened(rig.s3.objects[row["manifestKey"]]), sha256_jsonl="1" * 64)
    rig.s3.objects[row["manifestKey"]] = rig.signer.signed(wrong)
    await root_db["archives"].delete_many({})
    await root_db["entries"].insert_many(ten)
    with pytest.raises(ArchiveDamaged, match="from 1 on"):
        await rig.run()
    assert (await state(root_db))[:2] == (TEN, [])


def edited(stored: bytes, **changes: Any) -> bytes:
    """A manifest with other members under its old key and signature, in canonical form."""
    return rfc8785.dumps({**orjson.loads(stored), **changes})


async def test_a_manifest_is_believed_as_it_was_signed_and_not_otherwise(rig: Rig, ten: Entries) -> None:
    await rig.run(limits=Limits())
    (stored,) = [body for key, body in rig.s3.objects.items() if key.startswith("manifests/")]
    members = orjson.loads(stored)
    assert rig.signer.opened(stored).end_seq == 10
    for name, value in members.items():
        other = {"summary": {**members["summary"], "actions": []}}.get(
            name, value + 1 if type(value) is int else "1" * 64
        )
        with pytest.raises(ManifestDamagedError):
            rig.signer.opened(edited(stored, **{name: other}))
    with pytest.raises(ManifestDamagedError, match="unknown key"):
        ManifestSigner([bytes(32)]).opened(stored)


async def test_an_edited_manifest_whose_row_was_set_to_fit_is_found(
    rig: Rig, ten: Entries, root_db: Database, vault: Vault
) -> None:
    await rig.run()
    row = await root_db["archives"].find_one({"_id": 5})
    assert row is not None
    hidden = {**row["summary"], "actions": []}
    body = edited(rig.s3.objects[row["manifestKey"]], summary=hidden)
    rig.s3.objects[row["manifestKey"]] = body
    fitting = {"summary": hidden, "manifestSha256": hashlib.sha256(body).hexdigest()}
    await root_db["archives"].update_one({"_id": 5}, {"$set": fitting})
    broken = (await verify(rig.log, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("archive-manifest-mismatch", 5)


async def test_a_manifest_that_lies_in_wait_is_taken_only_if_we_signed_it_for_this_place(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    await rig.run()
    first, second = [body for key, body in sorted(rig.s3.objects.items()) if key.startswith("manifests/")][:2]
    strangers = ManifestSigner([bytes(32)]).signed(rig.signer.opened(second))
    elsewhere = rig.signer.signed(dataclasses.replace(rig.signer.opened(second), prev_manifest="1" * 64))
    for waiting in (first, strangers, elsewhere, b"{}"):
        for name in ("entries", "archives"):
            await root_db[name].delete_many({})
        await root_db["entries"].insert_many(ten)
        rig.s3.objects = {f"manifests/{5:016d}-0.json": waiting}
        await rig.run()
        row = await root_db["archives"].find_one({"_id": 5})
        assert row is not None
        assert row["manifestKey"] == f"manifests/{5:016d}-1.json"
        await in_some_tier(rig, ten)


@pytest.fixture
async def parted(rig: Rig, s3: FakeS3) -> AsyncIterator[Rig]:
    """The rig over a store that sends batches in parts of 600 bytes."""
    access = Access(s3.url, "local", "key", "secret", read_seconds=IMPATIENT_SECONDS)
    rig.store = ObjectStore(access, "bucket", part_bytes=600)
    yield rig
    await rig.store.close()


async def test_a_store_that_lies_about_parts_costs_no_entry(parted: Rig, ten: Entries, root_db: Database) -> None:
    await parted.run(limits=Limits())
    assert (parted.s3.calls["part"] > 2, parted.s3.calls["complete"]) == (True, 1)
    faults = [("complete", fault) for fault in ("500", "timeout", "unstored", "lost", "taken")]
    for call, fault in [*faults, ("part", "500"), ("begin", "lost")]:
        for name in ("entries", "archives"):
            await root_db[name].delete_many({})
        await root_db["entries"].insert_many(ten)
        parted.s3.objects.clear()
        await lie(parted, ten, root_db, call, 1, fault)


async def test_a_batch_that_was_completed_and_not_stored_is_missed_before_anything_is_recorded(
    parted: Rig, ten: Entries, root_db: Database
) -> None:
    parted.s3.fail("complete", 1, "unstored")
    with pytest.raises(StoreUnavailable, match="accepted a batch and does not have it"):
        await parted.run(limits=Limits())
    assert await state(root_db) == (TEN, [], 0)
