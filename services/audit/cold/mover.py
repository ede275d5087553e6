"""Who may archive, and the moves of a batch's entries between the tiers, each in a transaction under that right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter

from services.audit.cold.batches import BatchFile
from services.audit.cold.journal import Journal
from services.audit.cold.manifest import Place
from services.audit.cold.models import ArchiveRefused, ArchiveRunning
from services.audit.cold.repository import ArchiveRepository
from services.audit.models import Stored
from shared.clock import rfc3339
from shared.contracts.envelope import Actor
from shared.leases import Lease
from shared.mongo import Transaction, Transactions, is_unavailable

log = structlog.get_logger()

RENEW_SECONDS = 3.0
RESTORED = timedelta(days=7)

_archived = Counter("dezky_audit_archived_entries_total", "Entries moved to cold storage")


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
    """Moves the entries of recorded batches between the tiers, a few hundred in each transaction.

    Each change of a batch is told in its own transaction; that entries follow is not told again.
    """

    def __init__(
        self, transactions: Transactions, repository: ArchiveRepository, tenure: Tenure, journal: Journal
    ) -> None:
        self._transactions = transactions
        self._repository = repository
        self._tenure = tenure
        self._journal = journal

    async def requested(self, actor: Actor) -> None:
        """Tell that somebody asked for a run. Raises LeaseLost."""

        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            await self._journal.requested(actor, tx)

        await self._transactions.run(body)

    async def record(self, row: Mapping[str, Any], place: Place, actor: Actor) -> None:
        """Add the row of a batch at `place`. Raises ArchiveRefused if it is taken, LeaseLost."""

        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            if await self._repository.archived_up_to() != place.start_seq - 1:
                raise ArchiveRefused(f"another batch from {place.start_seq} on was recorded meanwhile")
            await self._repository.record(dict(row), tx)
            await self._journal.archived(actor, row, tx)

        await self._transactions.run(body)

    async def remove(self, start_seq: int, file: BatchFile) -> None:
        """Remove from MongoDB what is in a batch. Raises ArchiveRefused where the two differ, LeaseLost."""
        await self._mark(start_seq, {"tier": "leaving"})
        async with contextlib.aclosing(file.chunks()) as chunks:
            async for chunk in chunks:
                await self._remove(chunk)
        await self._mark(start_seq, {"tier": "cold", "restoredAt": None})

    async def restore(self, row: Mapping[str, Any], file: BatchFile, moment: datetime, actor: Actor) -> None:
        """Put a batch back beside its archived form."""
        start_seq, until = int(row["_id"]), moment + RESTORED

        async def body(tx: Transaction) -> None:
            await self._tenure.assert_held(tx)
            await self._repository.mark(start_seq, {"tier": "restoring", "restoredAt": rfc3339(moment)}, tx)
            await self._journal.restored(actor, row, until, tx)

        # Told when it begins: a crash on the way leaves entries that came back.
        await self._transactions.run(body)
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
