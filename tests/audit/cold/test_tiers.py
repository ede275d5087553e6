"""Both tiers as one log: lists, verification, and every way of tampering with an archive."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from services.audit.cold.archiver import Limits
from services.audit.cold.batches import Batches
from services.audit.cold.manifest import Manifest, ManifestSigner
from services.audit.cold.models import ArchiveDamaged
from services.audit.cold.object_store import AbsentStore, ColdStorageAbsent
from services.audit.cold.tiers import TieredPages
from services.audit.models import Query
from services.audit.personal import Vault
from shared.mongo import Database
from tests.audit.cold.conftest import Rig
from tests.audit.memory import verify

Entries = list[dict[str, Any]]
QUERIES = [
    (Query(), list(range(10, 0, -1))),
    (Query(action="tenant.suspended"), [8, 3]),
    (Query(action="tenant.*", tenant="acme"), list(range(10, 0, -1))),
    (Query(tenant="other"), []),
    (Query(text="SUSPEND"), [8, 3]),
    (Query(below=8, text="suspend"), [3]),
    (Query(since="2026-11-22T12:00:03.003Z", until="2026-11-22T12:00:09.009Z"), [8, 7, 6, 5, 4, 3]),
    (Query(partner_or_none="nordic", outcome="success", source="tenant"), list(range(10, 0, -1))),
    (Query(partner_or_none="other"), []),
    (Query(actor_tags=()), []),
]


async def listed(pages: TieredPages, query: Query, limit: int) -> list[int]:
    found: list[int] = []
    before: int | None = None
    while True:
        entries, before = await pages.page(query, before, limit)
        assert len(entries) <= limit
        found += [entry["_id"] for entry in entries]
        if before is None:
            return found


async def archive_some(rig: Rig, root_db: Database) -> None:
    """Numbers 1 to 6 in batches of three; 7 to 10 stay."""
    await root_db["checkpoints"].insert_one({"_id": 1, "headSeq": 6, "at": "2026-11-22T12:30:00.000Z"})
    await rig.run(limits=Limits(most_entries=3))


@pytest.mark.parametrize("opened", [1, 3])
async def test_archived_entries_are_listed_after_the_hot_ones_by_every_filter(
    rig: Rig, ten: Entries, root_db: Database, opened: int
) -> None:
    await archive_some(rig, root_db)
    pages = TieredPages(rig.repository, rig.rows, rig.batches, opened)
    for query, expected in QUERIES:
        for limit in (2, 4, 100):
            assert await listed(pages, query, limit) == expected, query
    await rig.restore(1)
    for query, expected in QUERIES:
        assert await listed(pages, query, 4) == expected, query
    await pages.close()
    whole, _ = await rig.pages.page(Query(below=6), None, 4)
    assert whole == ten[4:0:-1]


async def test_a_cursor_stays_good_while_its_entries_are_archived(rig: Rig, ten: Entries) -> None:
    first, before = await rig.pages.page(Query(), None, 4)
    await rig.run()
    second, before = await rig.pages.page(Query(), before, 4)
    third, before = await rig.pages.page(Query(), before, 4)
    assert [e["_id"] for e in (*first, *second, *third)] == list(range(10, 0, -1))
    assert before is None


async def test_batches_without_a_match_are_not_fetched(rig: Rig, ten: Entries) -> None:
    await rig.run()
    fetched = rig.s3.calls["get"]
    assert await listed(rig.pages, Query(action="tenant.suspended", since="2026-11-22T12:00:06.000Z"), 10) == [8]
    assert rig.s3.calls["get"] == fetched + 2  # manifest and lines of one batch of three


async def test_a_damaged_archive_is_not_listed_as_if_nothing_were_there(rig: Rig, ten: Entries) -> None:
    await rig.run()
    rig.s3.objects = {key: body for key, body in rig.s3.objects.items() if not key.startswith("batches/")}
    with pytest.raises(ArchiveDamaged):
        await rig.pages.page(Query(), None, 10)


async def test_without_a_store_the_hot_entries_are_listed_and_the_archived_ones_are_asked_for_loudly(
    rig: Rig, ten: Entries, root_db: Database
) -> None:
    pages = TieredPages(rig.repository, rig.rows, Batches(AbsentStore(), rig.signer))
    assert await listed(pages, Query(), 3) == list(range(10, 0, -1))
    await archive_some(rig, root_db)
    assert [e["_id"] for e in (await pages.page(Query(), None, 4))[0]] == [10, 9, 8, 7]
    with pytest.raises(ColdStorageAbsent):
        await pages.page(Query(), 7, 4)


def _flip(body: bytes) -> bytes:
    return body[:-5] + bytes([body[-5] ^ 1]) + body[-4:]


def _resigned(rig: Rig, body: bytes, key: bytes, **changes: Any) -> bytes:
    manifest: Manifest = dataclasses.replace(rig.signer.opened(body), **changes)
    return ManifestSigner([key]).signed(manifest)


async def _row(db: Database, start: int) -> dict[str, Any]:
    row = await db["archives"].find_one({"_id": start})
    assert row is not None
    return row


async def flipped_lines(rig: Rig, db: Database) -> None:
    key = (await _row(db, 5))["jsonlKey"]
    rig.s3.objects[key] = _flip(rig.s3.objects[key])


async def missing_lines(rig: Rig, db: Database) -> None:
    del rig.s3.objects[(await _row(db, 5))["jsonlKey"]]


async def flipped_manifest(rig: Rig, db: Database) -> None:
    key = (await _row(db, 5))["manifestKey"]
    rig.s3.objects[key] = _flip(rig.s3.objects[key])


async def missing_manifest(rig: Rig, db: Database) -> None:
    del rig.s3.objects[(await _row(db, 5))["manifestKey"]]


async def resigned_manifest(rig: Rig, db: Database) -> None:
    """Another key, and the row set to fit."""
    row = await _row(db, 5)
    body = _resigned(rig, rig.s3.objects[row["manifestKey"]], bytes(32))
    rig.s3.objects[row["manifestKey"]] = body
    await db["archives"].update_one({"_id": 5}, {"$set": {"manifestSha256": hashlib.sha256(body).hexdigest()}})


async def swapped_manifests(rig: Rig, db: Database) -> None:
    """The manifest and the lines of the first batch in the place of the second, the row set to fit."""
    first = await _row(db, 1)
    moved = {name: first[name] for name in ("manifestKey", "manifestSha256", "jsonlKey")}
    await db["archives"].update_one({"_id": 5}, {"$set": moved})


async def changed_row(rig: Rig, db: Database) -> None:
    await db["archives"].update_one({"_id": 5}, {"$set": {"summary.actions": []}})


async def forgotten_batch(rig: Rig, db: Database) -> None:
    await db["archives"].delete_one({"_id": 5})


TAMPERING = [
    flipped_lines,
    missing_lines,
    flipped_manifest,
    missing_manifest,
    resigned_manifest,
    swapped_manifests,
    changed_row,
    forgotten_batch,
]


async def test_tampering_with_an_archive_is_found_and_its_batch_named(
    rig: Rig, ten: Entries, root_db: Database, vault: Vault
) -> None:
    await rig.run()
    objects, rows = dict(rig.s3.objects), await root_db["archives"].find().to_list()
    for tamper in TAMPERING:
        assert (await verify(rig.log, vault)).broken is None
        await tamper(rig, root_db)
        broken = (await verify(rig.log, vault)).broken
        assert broken is not None, tamper
        assert (broken.kind, broken.seq) == ("archive-manifest-mismatch", 5), tamper
        rig.s3.objects = dict(objects)
        await root_db["archives"].delete_many({})
        await root_db["archives"].insert_many(rows)


async def test_the_last_batch_forgotten_and_a_batch_that_follows_another_are_found(
    rig: Rig, ten: Entries, root_db: Database, vault: Vault
) -> None:
    await rig.run()
    last = await _row(root_db, 9)
    await root_db["archives"].delete_one({"_id": 9})
    broken = (await verify(rig.log, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("archive-manifest-mismatch", 9)
    body = _resigned(rig, rig.s3.objects[last["manifestKey"]], bytes(range(32)), prev_manifest="1" * 64)
    rig.s3.objects[last["manifestKey"]] = body
    await root_db["archives"].insert_one({**last, "manifestSha256": hashlib.sha256(body).hexdigest()})
    broken = (await verify(rig.log, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("archive-manifest-mismatch", 9)


async def test_a_restored_entry_that_was_altered_is_found(
    rig: Rig, ten: Entries, root_db: Database, vault: Vault
) -> None:
    await rig.run()
    await rig.restore(5)
    assert (await verify(rig.log, vault)).broken is None
    await root_db["entries"].update_one({"_id": 7}, {"$set": {"outcome": "denied"}})
    broken = (await verify(rig.log, vault)).broken
    assert broken is not None
    assert (broken.kind, broken.seq) == ("event-hash-mismatch", 7)


async def test_manifests_signed_with_a_retired_key_stay_good(rig: Rig, ten: Entries, vault: Vault) -> None:
    await rig.run()
    rotated = ManifestSigner([bytes(32), bytes(range(32))])
    rig.log = type(rig.log)(rig.repository, rig.rows, Batches(rig.store, rotated))
    assert (await verify(rig.log, vault)).broken is None
