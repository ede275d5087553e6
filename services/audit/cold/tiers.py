"""The log over both tiers: for verification in ascending order, and for lists, the newest first.

Archiving goes on meanwhile, and an entry is removed from MongoDB only after its batch has its row. So whoever reads
MongoDB first and the rows afterwards sees every entry in one of the two.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

from services.audit.canonical import GENESIS
from services.audit.cold.batches import CHUNK, BatchDamagedError, Batches
from services.audit.cold.lines import EntryDamagedError, to_line
from services.audit.cold.manifest import Manifest
from services.audit.cold.models import ArchiveDamaged, belongs
from services.audit.cold.repository import ColdRepository
from services.audit.cold.shelf import Shelf
from services.audit.cold.summary import Summary
from services.audit.models import Head, Query, Stored
from services.audit.repository import AuditRepository
from services.audit.verifier import ChainBrokenError

OPENED_A_PAGE = 2
_ROWS = 50


class TieredLog:
    """What the verifier walks: `verifier.Log`."""

    def __init__(self, repository: AuditRepository, rows: ColdRepository, batches: Batches) -> None:
        self._repository = repository
        self._rows = rows
        self._batches = batches

    async def head(self) -> Head | None:
        """The head of the chain."""
        return await self._repository.head()

    async def ends(self) -> tuple[int | None, int | None]:
        """The lowest and the highest hot number."""
        return await self._repository.ends()

    async def keys_for(self, owners: Iterable[str], digests: Iterable[str]) -> list[dict[str, Any]]:
        """Data keys, as `AuditRepository.keys_for`."""
        return await self._repository.keys_for(owners, digests)

    async def archived_up_to(self) -> int | None:
        """The highest archived number."""
        return await self._rows.archived_up_to() or None

    async def walk(self, after: int, up_to: int) -> AsyncGenerator[list[Stored], None]:
        """Entries after a number and up to another, ascending; archived ones from cold storage.

        Raises ChainBrokenError (`archive-manifest-mismatch` names the first number of the batch), StoreUnavailable.
        """
        place = after
        while place < up_to:
            found = await self._rows.hot(place, up_to, CHUNK)
            row = await self._covering(place + 1)
            if row is not None:
                async with contextlib.aclosing(self._archived(row, place)) as chunks:
                    async for chunk in chunks:
                        if wanted := [entry for entry in chunk if entry["_id"] <= up_to]:
                            yield wanted
                place = int(row["endSeq"])
                continue
            if not found:
                await self._missing(place + 1)
                return
            whole = _contiguous(found, place)
            if not whole:
                await self._missing(place + 1)
            yield whole or found
            place = found[len(whole or found) - 1]["_id"]

    async def _covering(self, seq: int) -> Mapping[str, Any] | None:
        row = await self._rows.at_or_before(seq)
        return row if row is not None and row["endSeq"] >= seq else None

    async def _missing(self, place: int) -> None:
        """Say that a batch is missing where cold storage has one that nobody records any more."""
        if await self._batches.any_from(place):
            raise ChainBrokenError("archive-manifest-mismatch", place, f"a record of the batch from {place} on", "none")

    async def _archived(self, row: Mapping[str, Any], after: int) -> AsyncGenerator[list[Stored], None]:
        try:
            manifest = await self._signed(row)
            async with (
                self._batches.opened(manifest) as file,
                contextlib.aclosing(file.chunks(after)) as chunks,
            ):
                async for chunk in chunks:
                    await self._compare(chunk)
                    yield chunk
        except BatchDamagedError as error:
            raise ChainBrokenError(
                "archive-manifest-mismatch", error.start_seq, error.expected, error.actual
            ) from error

    async def _signed(self, row: Mapping[str, Any]) -> Manifest:
        """The manifest of a row: the one that it names, saying what it says, and following the one before."""
        start = int(row["_id"])
        manifest = await self._batches.manifest(row["manifestKey"], start, row["manifestSha256"])
        if not belongs(row, manifest):
            raise BatchDamagedError(start, "a record that says what the manifest says", "another")
        before = await self._rows.at_or_before(start - 1)
        expected = (start - 1, GENESIS) if before is None else (before["endSeq"], before["manifestSha256"])
        if before is None and start != 1:
            raise BatchDamagedError(1, "a batch from 1 on", f"none before {start}")
        if (start - 1, manifest.prev_manifest) != expected:
            raise BatchDamagedError(start, f"the manifest after {expected[1]}", f"after {manifest.prev_manifest}")
        return manifest

    async def _compare(self, chunk: list[Stored]) -> None:
        """What is hot as well (not yet removed, or restored) must be what is archived: lists show it."""
        hot = {e["_id"]: e for e in await self._rows.hot(chunk[0]["_id"] - 1, chunk[-1]["_id"], len(chunk) + 1)}
        if not hot:
            return
        for entry in chunk:
            copy = hot.pop(entry["_id"], None)
            before = Head(entry["_id"] - 1, entry["prevHash"])
            try:
                if copy is None or to_line(copy, before) == to_line(entry, before):
                    continue
                actual = "a copy that differs"
            except EntryDamagedError as error:
                actual = str(error)
            raise ChainBrokenError("event-hash-mismatch", entry["_id"], "the copy that is archived", actual)
        if hot:
            raise ChainBrokenError("seq-gap", chunk[0]["_id"], "whole numbers", min(hot))


class TieredPages:
    """Pages of the log, hot entries first, then archived ones; a number is a place in both."""

    def __init__(
        self, repository: AuditRepository, rows: ColdRepository, batches: Batches, opened_a_page: int = OPENED_A_PAGE
    ) -> None:
        self._repository = repository
        self._rows = rows
        self._batches = batches
        self._shelf = Shelf(batches)
        self._opened_a_page = opened_a_page

    async def close(self) -> None:
        """Remove what was unpacked."""
        await self._shelf.close()

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]:
        """As `AuditRepository.page`; at most a few batches are opened for one page, so it may be short.

        Raises StoreUnavailable, and ArchiveDamaged for a batch that is not what was archived.
        """
        found, following, archived = await self._hot_page(query, before, limit)
        if following is not None:
            return found, following
        opened = 0
        place = archived + 1
        while rows := await self._rows.below(place, _ROWS):
            for row in rows:
                start, end = int(row["_id"]), int(row["endSeq"])
                bounded = _within(query, before, start, end)
                if bounded is not None and Summary.read(row["summary"]).may_match(query):
                    if opened == self._opened_a_page or len(found) == limit:
                        return found, bounded.below
                    opened += 1
                    more, following = await self._of_batch(row, bounded, limit - len(found))
                    found += more
                    if following is not None:
                        return found, following
                place = start
                if query.above is not None and start <= query.above + 1:
                    return found, None
        return found, None

    async def _hot_page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None, int]:
        """The page above the archived numbers, and the highest of those, read afterwards."""
        archived = await self._rows.archived_up_to()
        while True:
            hot = dataclasses.replace(query, above=max(archived, query.above or 0) or None)
            found, following = await self._repository.page(hot, before, limit)
            now = await self._rows.archived_up_to()
            if now == archived:
                return found, following, archived
            archived = now

    async def _of_batch(self, row: Mapping[str, Any], query: Query, limit: int) -> tuple[list[Stored], int | None]:
        if row["tier"] == "restored":
            page = await self._repository.page(query, None, limit)
            now = await self._rows.row(row["_id"])
            if now is not None and now["tier"] == "restored":
                return page
        try:
            manifest = await self._batches.manifest(row["manifestKey"], row["_id"], row["manifestSha256"])
            if not belongs(row, manifest):
                raise BatchDamagedError(row["_id"], "a record that says what the manifest says", "another")
            async with self._shelf.opened(manifest) as batch:
                return await batch.newest(query, limit)
        except BatchDamagedError as error:
            raise ArchiveDamaged(str(error)) from error


def _within(query: Query, before: int | None, start: int, end: int) -> Query | None:
    """The query bounded to a batch and to the place reached; None if they have no number in common."""
    below = min(bound for bound in (before, query.below, end + 1) if bound is not None)
    above = max(start - 1, query.above or 0)
    if below <= above + 1:
        return None
    return dataclasses.replace(query, above=above, below=below)


def _contiguous(found: list[Stored], place: int) -> list[Stored]:
    """The entries from `place` on without a hole: what follows one may have been archived meanwhile."""
    whole: list[Stored] = []
    for entry in found:
        if entry["_id"] != place + len(whole) + 1:
            break
        whole.append(entry)
    return whole
