"""The archiver: old entries into signed batches, and out of MongoDB only once both objects were read back.

Each step can be the last one before a crash. What decides is in this order: the object at the batch's key (named by
its content), the manifest at the key of its start, the row in MongoDB (written under the lease's fencing token), and
only then the removal, which compares every entry with the archived one in the transaction that removes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import structlog
from prometheus_client import Gauge

from services.audit.cold.batches import (
    CHUNK,
    BatchBuilder,
    BatchDamagedError,
    Batches,
    Store,
    batch_key,
    folder,
    manifest_key,
)
from services.audit.cold.journal import SCHEDULE
from services.audit.cold.lines import EntryDamagedError
from services.audit.cold.manifest import MOST_BYTES, Manifest, ManifestDamagedError, ManifestSigner, Place
from services.audit.cold.models import ArchiveDamaged, ArchiveRefused, Ran, belongs, row_of
from services.audit.cold.mover import RESTORED, Mover
from services.audit.cold.object_store import StoreUnavailable
from services.audit.cold.repository import ArchiveRepository
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.contracts.envelope import Actor

log = structlog.get_logger()

RUN_SECONDS = 200.0
ATTEMPTS = 5

_refused = Gauge("dezky_audit_archive_refused", "1 while entries or archives do not verify and nothing is archived")


@dataclass(frozen=True, slots=True)
class Limits:
    """When entries are old, how large a batch may be (lines, before compression), how long objects are locked."""

    hot_days: int = 90
    most_entries: int = 50_000
    most_bytes: int = 64 * 1024 * 1024
    lock_days: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored batch, and the row that it gets."""

    row: Mapping[str, Any]
    manifest: Manifest
    sha256: str


class Archiver:
    """Archives, restores, and finishes what a crash left."""

    def __init__(
        self,
        store: Store,
        signer: ManifestSigner,
        repository: ArchiveRepository,
        mover: Mover,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._store = store
        self._signer = signer
        self._batches = Batches(store, signer)
        self._repository = repository
        self._mover = mover
        self._clock = clock
        self._limits = limits

    async def requested(self, actor: Actor) -> None:
        """Tell that somebody asks for a run, whether or not it finds anything. Under the tenure only."""
        await self._mover.requested(actor)

    async def run(self, actor: Actor = SCHEDULE, most_seconds: float = RUN_SECONDS) -> Ran:
        """Finish what is unfinished, then archive all that is old, as long as there is time. Under the tenure only.

        Raises ArchiveRefused, ArchiveDamaged, StoreUnavailable, LeaseLost.
        """
        ends = time.monotonic() + most_seconds
        batches: list[Mapping[str, Any]] = []
        try:
            removed = await self._finish(ends)
            while time.monotonic() < ends:
                row = await self._archive_next(actor)
                if row is None:
                    _refused.set(0)
                    return Ran(tuple(batches), removed, more=False)
                batches.append(row)
        except (ArchiveRefused, EntryDamagedError, BatchDamagedError) as error:
            _refused.set(1)
            log.error("audit.archive_refused", reason=str(error))  # noqa: TRY400 - the reason says all
            raise _told(error) from error
        return Ran(tuple(batches), removed, more=True)

    async def restore(self, start_seq: int, actor: Actor) -> Mapping[str, Any] | None:
        """Put a batch back into MongoDB after verifying it, for RESTORED; None if there is no such batch.

        Under the tenure only. Raises ArchiveRefused, ArchiveDamaged, StoreUnavailable, LeaseLost.
        """
        row = await self._repository.row(start_seq)
        if row is None:
            return None
        try:
            async with self._batches.opened(await self._manifest(row)) as file:
                await self._mover.restore(row, file, self._clock.now(), actor)
        except BatchDamagedError as error:
            raise _told(error) from error
        return await self._repository.row(start_seq)

    async def _finish(self, ends: float) -> tuple[int, ...]:
        """Remove the entries of batches that have their row; a restored one stays for its days."""
        removed = []
        for row in await self._repository.leaving():
            if time.monotonic() >= ends:
                break
            if row["restoredAt"] is not None and row["tier"] != "leaving" and not self._stayed(row["restoredAt"]):
                continue
            async with self._batches.opened(await self._manifest(row)) as file:
                await self._mover.remove(row["_id"], file)
            removed.append(int(row["_id"]))
        return tuple(removed)

    def _stayed(self, restored_at: str) -> bool:
        return parse_rfc3339(restored_at) + RESTORED <= self._clock.now()

    async def _manifest(self, row: Mapping[str, Any]) -> Manifest:
        manifest = await self._batches.manifest(row["manifestKey"], row["_id"], row["manifestSha256"])
        if not belongs(row, manifest):
            raise BatchDamagedError(row["_id"], "a row that says what its manifest says", "another")
        return manifest

    async def _archive_next(self, actor: Actor) -> Mapping[str, Any] | None:
        place = await self._place()
        recorded = await self._left_behind(place)
        if recorded is None:
            async with folder() as here:
                builder = BatchBuilder(here / "batch.jsonl.gz", place)
                try:
                    await self._fill(builder)
                    if builder.count == 0:
                        return None
                    manifest = await asyncio.to_thread(builder.finish, self._clock.now())
                    recorded = await self._store_both(await self._stored(manifest, builder), place)
                finally:
                    builder.close()
        # Read back as a reader will read it, before anything depends on it.
        manifest = await self._batches.manifest(recorded.row["manifestKey"], place.start_seq, recorded.sha256)
        async with self._batches.opened(manifest) as file:
            async for _ in file.chunks():
                pass
            await self._mover.record(recorded.row, place, actor)
            await self._mover.remove(place.start_seq, file)
        log.info("audit.archived", first=manifest.start_seq, last=manifest.end_seq)
        return recorded.row

    async def _place(self) -> Place:
        row = await self._repository.newest()
        if row is None:
            return Place()
        return Place.after(await self._manifest(row), row["manifestSha256"])

    async def _fill(self, builder: BatchBuilder) -> None:
        before = rfc3339(self._clock.now() - timedelta(days=self._limits.hot_days))
        covered = await self._repository.covered()
        chained_before = await self._repository.covered_before(before)
        last = builder.at.seq + self._limits.most_entries
        if covered is not None:
            last = min(last, covered)
        while builder.at.seq < last:
            found = await self._repository.hot(builder.at.seq, last, CHUNK)
            # The time of an event is its sender's word; a checkpoint of before is ours.
            old = list(takewhile(lambda entry: entry["at"] < before or entry["_id"] <= chained_before, found))
            room = await asyncio.to_thread(builder.add, old, self._limits.most_bytes)
            if not room or len(old) < CHUNK:
                return

    async def _stored(self, manifest: Manifest, builder: BatchBuilder) -> Manifest:
        """Store the batch under the first key that then holds it; the manifest with that key."""
        for attempt in range(ATTEMPTS):
            key = batch_key(manifest.start_seq, manifest.sha256_gzip, attempt)
            await self._store.put_file_once(key, builder.path, retain_until=self._locked_until())
            kept = replace(manifest, jsonl_key=key)
            try:
                async with self._batches.opened(kept):
                    return kept
            except BatchDamagedError as error:
                if error.actual == "none":
                    raise StoreUnavailable("the object store accepted a batch and does not have it") from error
                log.warning("audit.archive_spoilt", key=key)
        raise StoreUnavailable("the object store did not keep a batch as it was sent")

    async def _store_both(self, manifest: Manifest, place: Place) -> Recorded:
        """Store the manifest of a stored batch; if one was there before, and holds, that one counts."""
        body = self._signer.signed(manifest)
        for attempt in range(ATTEMPTS):
            key = manifest_key(place.start_seq, attempt)
            await self._store.put_once(key, body, retain_until=self._locked_until())
            found = await self._whole(key, place)
            if found is not None:
                return found
        raise StoreUnavailable("the object store did not keep a manifest as it was sent")

    async def _left_behind(self, place: Place) -> Recorded | None:
        """A batch at this place that an archiver stored and did not live to record."""
        for key in await self._store.keys(manifest_key(place.start_seq, 0).removesuffix("0.json")):
            if (found := await self._whole(key, place)) is not None:
                return found
        return None

    async def _whole(self, key: str, place: Place) -> Recorded | None:
        """The batch of a manifest that is believed, if the batch is there, too."""
        found = await self._believed(key, place)
        if found is None:
            return None
        try:
            async with self._batches.opened(found.manifest):
                return found
        except BatchDamagedError:
            log.warning("audit.archive_spoilt", key=key)
            return None

    async def _believed(self, key: str, place: Place) -> Recorded | None:
        """The batch of a manifest if we signed it for this place; None for anything else that lies there."""
        stored = await self._store.get(key, at_most=MOST_BYTES)
        if stored is None:
            raise StoreUnavailable("the object store accepted a manifest and does not have it")
        try:
            manifest = self._signer.opened(stored)
        except ManifestDamagedError:
            return None
        if not manifest.follows(place):
            return None
        sha256 = hashlib.sha256(stored).hexdigest()
        return Recorded(row_of(manifest, key, sha256), manifest, sha256)

    def _locked_until(self) -> datetime | None:
        if not self._limits.lock_days:
            return None
        return self._clock.now() + timedelta(days=self._limits.lock_days)


def _told(error: Exception) -> ArchiveRefused | ArchiveDamaged:
    if isinstance(error, ArchiveRefused):
        return error
    return ArchiveDamaged(str(error)) if isinstance(error, BatchDamagedError) else ArchiveRefused(str(error))
