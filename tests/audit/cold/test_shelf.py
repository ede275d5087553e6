"""Batches that are kept unpacked: fetched once, read in part, gone when others come and nobody reads them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from services.audit.cold import shelf as shelving
from services.audit.cold.batches import BatchDamagedError
from services.audit.cold.manifest import Manifest
from services.audit.cold.shelf import Shelf
from services.audit.models import Query
from shared.mongo import Database
from tests.audit.cold.conftest import Rig

Entries = list[dict[str, Any]]


@pytest.fixture
async def shelf(rig: Rig) -> AsyncIterator[Shelf]:
    made = Shelf(rig.batches, room=1)
    yield made
    await made.close()


async def archived(rig: Rig, root_db: Database) -> list[Manifest]:
    """Three batches: 1 to 4, 5 to 8, 9 and 10."""
    await rig.run()
    rows = await root_db["archives"].find().sort("_id", 1).to_list()
    return [await rig.batches.manifest(row["manifestKey"], row["_id"], row["manifestSha256"]) for row in rows]


@pytest.mark.parametrize("run", [1, 2, 3, 250])
async def test_every_bound_and_limit_gives_what_the_entries_give(
    rig: Rig, ten: Entries, root_db: Database, shelf: Shelf, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelving, "RUN", run)
    _, second, _ = await archived(rig, root_db)
    numbers = [5, 6, 7, 8]
    async with shelf.opened(second) as batch:
        for above in (None, 4, 5, 6, 7):
            for below in (None, 6, 8, 9):
                for limit in (1, 2, 4, 5):
                    wanted = [n for n in reversed(numbers) if n > (above or 0) and n < (below or 99)]
                    found, following = await batch.newest(Query(above=above, below=below), limit)
                    assert found == [ten[n - 1] for n in wanted[:limit]]
                    assert following == (wanted[limit - 1] if len(wanted) > limit else None)


async def test_a_batch_is_fetched_once_however_many_pages_are_read(rig: Rig, ten: Entries, root_db: Database) -> None:
    await archived(rig, root_db)
    before = rig.s3.calls["get"]
    place: int | None = None
    seen = []
    while True:
        page, place = await rig.pages.page(Query(), place, 1)
        seen += [entry["_id"] for entry in page]
        if place is None:
            break
    assert seen == list(range(10, 0, -1))
    pages, batches = 10, 3
    # A manifest is asked for with every page; it is small, and says whether the row is true.
    assert rig.s3.calls["get"] - before == pages + batches


async def test_a_batch_leaves_for_another_but_not_while_somebody_reads_it(
    rig: Rig, ten: Entries, root_db: Database, shelf: Shelf
) -> None:
    first, second, third = await archived(rig, root_db)
    async with AsyncExitStack() as reading:
        held = await reading.enter_async_context(shelf.opened(first))
        for other in (second, third):
            async with shelf.opened(other) as passing:
                pass
        assert not passing.path.exists()
        assert await held.newest(Query(), 10) == (list(reversed(ten[:4])), None)
    async with shelf.opened(second) as newer:
        assert newer.path.exists()
    assert not held.path.exists()
    folder = newer.path.parent
    await shelf.close()
    assert not folder.exists()


async def test_a_batch_that_is_not_what_its_manifest_says_is_not_shelved(
    rig: Rig, ten: Entries, root_db: Database, shelf: Shelf
) -> None:
    first, second, _ = await archived(rig, root_db)
    lines = gzip.decompress(rig.s3.objects[first.jsonl_key])
    short = gzip.compress(lines[: lines.rindex(b"\n", 0, -1) + 1])
    for body in (short, rig.s3.objects[second.jsonl_key], gzip.compress(lines + lines)):
        rig.s3.objects[first.jsonl_key] = body
        # Even where the digest of what is packed agrees.
        said = replace(first, sha256_gzip=hashlib.sha256(body).hexdigest(), bytes_compressed=len(body))
        with pytest.raises(BatchDamagedError):
            async with shelf.opened(said):
                pass
    async with shelf.opened(second) as batch:
        assert batch.path.stat().st_size == second.bytes_uncompressed
