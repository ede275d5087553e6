"""Out of the queue and into the chain, in one transaction: a record is in exactly one of them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Gauge

from services.audit.chain import ChainWriter, append_all, count_unparsed
from services.audit.ingest.reading import read, unparsed
from services.audit.ingest.repository import IngestRepository
from services.audit.models import Fact
from shared.mongo import Transaction

MOST_RECORDS = 500
MOST_BYTES = 4 * 1024 * 1024

_drained = Gauge("dezky_audit_ingest_last_batch", "Records that the last batch took out of the queue")


class Outflow:
    """Chains what waits. Used by whoever holds the lease of the chain; anybody else's transaction is refused."""

    def __init__(self, repository: IngestRepository, writer: ChainWriter) -> None:
        self._repository = repository
        self._writer = writer

    async def drain(self) -> bool:
        """Chain the oldest batch; True if it was a full one, so that more may wait.

        Raises what `ChainWriter.append` raises; then the batch still waits.
        """
        records = await self._repository.oldest(MOST_RECORDS, MOST_BYTES)
        _drained.set(len(records))
        if not records:
            return False
        facts = [read(record) for record in records]
        count_unparsed(await append_all(self._append, facts, lambda place: unparsed(records[place], "not_storable")))
        return len(records) == MOST_RECORDS or sum(len(record.body) for record in records) > MOST_BYTES // 2

    async def _append(self, facts: Sequence[Fact]) -> None:
        async def remove(tx: Transaction) -> None:
            await self._repository.remove([fact.id for fact in facts], tx)

        await self._writer.append(facts, also=remove)
