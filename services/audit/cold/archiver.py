"""The archiver: old entries into signed batches, and out of MongoDB only once both objects were read back.

Each step can be the last one before a crash. What decides is in this order: the object at the batch's key (named by
its content), the manifest at the key of its start, the row in MongoDB (written under the lease's fencing token), and
only then the removal, which compares every entry with the archived one in the transaction that removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from services.audit.cold.batches import (
    CHUNK,
    BatchBuilder,
    BatchDamagedError,
    Batches,
    BatchFile,
    Store,
    batch_key,
    folder,
    manifest_key,
)
from services.audit.cold.lines import EntryDamagedError
from services.audit.cold.manifest import MOST_BYTES, Manifest, ManifestDamagedError, ManifestSigner, Place
from services.audit.cold.models import ArchiveDamaged, ArchiveRefused, ArchiveRunning, Ran, belongs, row_of
from services.audit.cold.object_store import StoreUnavailable
from services.audit.cold.repository import ArchiveRepository
from services.audit.models import Stored
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.leases import Lease
from shared.mongo import Transaction, Transactions, is_unavailable

log = structlog.get_logger()

RENEW_SECONDS = 3.0
RUN_SECONDS = 200.0
RESTORED_DAYS = 7
ATTEMPTS = 5

_archived = Counter("dezky_audit_archived_entries_total", "Entries moved to cold storage")
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


class Tenure:
    """The right to archive: one task of one replica at a time, renewed while it works."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._busy = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lease. Raises ArchiveRunning."""
        if self._busy.locked():
            raise ArchiveRunning("this replica archives or restores already")
        async with self._busy:
            if not await self._lease.acquire():
                raise ArchiveRunning("another replica archives or restores already")
            ended = asyncio.Event()
            renewing = asyncio.create_task(self._renew(ended), name="audit.archive.renew")
            try:
                yield
            finally:
                # Not cancelled: a driver's call that is cut off can leave its client unusable.
                ended.set()
                await renewing
                await self._lease.release()

    async def assert_held(self, tx: Transaction) -> None:
        """Let a transaction commit only under this tenure. Raises LeaseLost."""
        await self._lease.assert_held(tx)

    async def _renew(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await ended.wait()
                    return
            try:
                await self._lease.acquire()
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("audit.archive_lease")


class Mover:
    """Moves the entries of recorded batches between the tiers, a few hundred in each transaction."""

    def __init__(self, transactions: Transactions, repository: ArchiveRepository, tenure: Tenure) -> None:
        self._transactions = transactions
        self._repository = repository
        self._tenure = tenure

    async def record(self, row: Mapping[str, Any], place: Place) -> None:
        """Add the row of a batch at `place`. Raises ArchiveRefused if it is taken, LeaseLost."""

        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            if await self._repository.archived_up_to() != place.start_seq - 1:
                raise ArchiveRefused(f"another batch from {place.start_seq} on was recorded meanwhile")
            await self._repository.record(dict(row), tx)

        await self._transactions.run(body)

    async def remove(self, start_seq: int, file: BatchFile) -> None:
        """Remove from MongoDB what is in a batch. Raises ArchiveRefused where the two differ, LeaseLost."""
        await self._mark(start_seq, {"tier": "leaving"})
        async with contextlib.aclosing(file.chunks()) as chunks:
            async for chunk in chunks:
                await self._remove(chunk)
        await self._mark(start_seq, {"tier": "cold", "restoredAt": None})

    async def restore(self, start_seq: int, file: BatchFile, moment: str) -> None:
        """Put a batch back beside its archived form."""
        await self._mark(start_seq, {"tier": "restoring", "restoredAt": moment})
        async with contextlib.aclosing(file.chunks()) as chunks:
            async for chunk in chunks:
                await self._put_back(chunk)
        await self._mark(start_seq, {"tier": "restored"})

    async def _mark(self, start_seq: int, changes: Mapping[str, Any]) -> None:
        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            await self._repository.mark(start_seq, changes, tx)

        await self._transactions.run(body)

    async def _remove(self, chunk: list[Stored]) -> None:
        first, last = chunk[0]["_id"], chunk[-1]["_id"]

        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            await self._compared(chunk, tx)
            await self._repository.remove(first, last, tx)

        await self._transactions.run(body)
        _archived.inc(len(chunk))

    async def _put_back(self, chunk: list[Stored]) -> None:
        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            there = await self._compared(chunk, tx)
            if missing := [entry for entry in chunk if entry["_id"] not in there]:
                await self._repository.put_back(missing, tx)

        await self._transactions.run(body)

    async def _compared(self, chunk: list[Stored], tx: Transaction) -> set[int]:
        """The numbers of a chunk that are hot. Raises ArchiveRefused if one is not what was archived."""
        archived = {entry["_id"]: entry for entry in chunk}
        hot = await self._repository.hot(chunk[0]["_id"] - 1, chunk[-1]["_id"], len(chunk) + 1, tx)
        for entry in hot:
            if entry != archived.get(entry["_id"]):
                raise ArchiveRefused(f"entry {entry['_id']} is not what was archived under this number")
        return {entry["_id"] for entry in hot}


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

    async def run(self, most_seconds: float = RUN_SECONDS) -> Ran:
        """Finish what is unfinished, then archive all that is old, as long as there is time. Under the tenure only.

        Raises ArchiveRefused, ArchiveDamaged, StoreUnavailable, LeaseLost.
        """
        ends = time.monotonic() + most_seconds
        batches: list[Mapping[str, Any]] = []
        try:
            removed = await self._finish(ends)
            while time.monotonic() < ends:
                row = await self._archive_next()
                if row is None:
                    _refused.set(0)
                    return Ran(tuple(batches), removed, more=False)
                batches.append(row)
        except (ArchiveRefused, EntryDamagedError, BatchDamagedError) as error:
            _refused.set(1)
            log.error("audit.archive_refused", reason=str(error))  # noqa: TRY400 - the reason says all
            raise _told(error) from error
        return Ran(tuple(batches), removed, more=True)

    async def restore(self, start_seq: int) -> Mapping[str, Any] | None:
        """Put a batch back into MongoDB after verifying it, for RESTORED_DAYS; None if there is no such batch.

        Under the tenure only. Raises ArchiveRefused, ArchiveDamaged, StoreUnavailable, LeaseLost.
        """
        row = await self._repository.row(start_seq)
        if row is None:
            return None
        try:
            async with self._batches.opened(await self._manifest(row)) as file:
                await self._mover.restore(start_seq, file, rfc3339(self._clock.now()))
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
        return parse_rfc3339(restored_at) + timedelta(days=RESTORED_DAYS) <= self._clock.now()

    async def _manifest(self, row: Mapping[str, Any]) -> Manifest:
        manifest = await self._batches.manifest(row["manifestKey"], row["_id"], row["manifestSha256"])
        if not belongs(row, manifest):
            raise BatchDamagedError(row["_id"], "a row that says what its manifest says", "another")
        return manifest

    async def _archive_next(self) -> Mapping[str, Any] | None:
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
            await self._mover.record(recorded.row, place)
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
