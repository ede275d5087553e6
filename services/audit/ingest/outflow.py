"""Out of the queue and into the chain, in one transaction: a record is in exactly one of them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from prometheus_client import Gauge

from services.audit.chain import ChainWriter, count_unparsed
from services.audit.ingest.models import Record
from services.audit.ingest.reading import read, unparsed
from services.audit.ingest.repository import IngestRepository
from services.audit.models import Fact
from services.audit.repository import HeadMissingError, HeadMovedError
from shared.leases import LeaseLost
from shared.mongo import Transaction, is_unavailable

log = structlog.get_logger()

MOST_RECORDS = 500
MOST_BYTES = 4 * 1024 * 1024
# The state of the chain, not of a record: no other record would fare better.
CHAIN_REFUSES = (LeaseLost, HeadMissingError, HeadMovedError)

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
        count_unparsed(await self._chain(records))
        return len(records) == MOST_RECORDS or sum(len(record.body) for record in records) > MOST_BYTES // 2

    async def _chain(self, records: Sequence[Record]) -> list[Fact]:
        facts = [read(record) for record in records]
        try:
            await self._append(facts)
        except CHAIN_REFUSES:
            raise
        except Exception as error:
            if is_unavailable(error):
                raise
            log.warning("ingest.batch_refused", size=len(records), error=type(error).__name__)
            return [await self._chain_alone(fact, record) for fact, record in zip(facts, records, strict=True)]
        return facts

    async def _chain_alone(self, fact: Fact, record: Record) -> Fact:
        """One record must not hold up the others: what the database refuses to store is chained as raw bytes."""
        try:
            await self._append([fact])
        except CHAIN_REFUSES:
            raise
        except Exception as error:
            if is_unavailable(error):
                raise
            fact = unparsed(record, "not_storable")
            await self._append([fact])
        return fact

    async def _append(self, facts: Sequence[Fact]) -> None:
        async def remove(tx: Transaction) -> None:
            await self._repository.remove([fact.id for fact in facts], tx)

        await self._writer.append(facts, also=remove)
