"""Into the queue: each record once, together with the place in its source that it reaches."""

from __future__ import annotations

from typing import Protocol

import structlog
from prometheus_client import Counter

from services.audit.ingest.models import LARGEST, Arrival, QueueFull, Record
from services.audit.ingest.repository import IngestRepository
from shared.clock import Clock
from shared.mongo import Transaction, Transactions

log = structlog.get_logger()

MOST_WAITING = 10_000

_received = Counter("dezky_audit_ingest_received_total", "Records of other systems taken in", ["source"])
_repeated = Counter("dezky_audit_ingest_repeated_total", "Records that had been taken in before", ["source"])
_skipped = Counter("dezky_audit_ingest_skipped_total", "What a source said and is not chained", ["source", "reason"])


class Tenure(Protocol):
    """The right to read a source, checked inside the transaction (`shared.leases.Lease`)."""

    async def assert_held(self, tx: Transaction) -> None: ...


class Intake:
    """Puts records into the queue. Any number of them may do so at a time."""

    def __init__(
        self, transactions: Transactions, repository: IngestRepository, clock: Clock, most: int = MOST_WAITING
    ) -> None:
        self._transactions = transactions
        self._repository = repository
        self._clock = clock
        self._most = most

    async def require_room(self) -> None:
        """Raise QueueFull while as many records wait as may. The bound is of the queue before an arrival."""
        if await self._repository.waiting(self._most) >= self._most:
            raise QueueFull

    async def take(self, arrival: Arrival, tenure: Tenure | None = None) -> int:
        """Store what is new of an arrival, and its position; returns how many were, after the commit.

        Raises QueueFull, LeaseLost, and the driver's errors; then neither is stored.
        """
        await self.require_room()
        fitting = [record for record in arrival.records if len(record.body) <= LARGEST]
        skipped = dict(arrival.skipped)
        if len(fitting) < len(arrival.records):
            skipped["too_large"] = skipped.get("too_large", 0) + len(arrival.records) - len(fitting)
        settled = Arrival(arrival.source, _distinct(fitting), arrival.position, skipped, arrival.caught_up)

        async def body(tx: Transaction) -> int:
            return await self._store(settled, tenure, tx)

        added = await self._transactions.run(body)
        _received.labels(arrival.source).inc(added)
        _repeated.labels(arrival.source).inc(len(fitting) - added)
        for reason, count in skipped.items():
            _skipped.labels(arrival.source, reason).inc(count)
            log.warning("ingest.skipped", source=arrival.source, reason=reason, count=count)
        return added

    async def _store(self, arrival: Arrival, tenure: Tenure | None, tx: Transaction) -> int:
        if tenure is not None:
            await tenure.assert_held(tx)
        known = await self._repository.known([record.id for record in arrival.records], tx)
        fresh = [record for record in arrival.records if record.id not in known]
        await self._repository.add(fresh, tx)
        await self._repository.note(arrival, len(fresh), self._clock.now(), tx)
        return len(fresh)


def _distinct(records: list[Record]) -> list[Record]:
    by_id: dict[str, Record] = {}
    for record in records:
        by_id.setdefault(record.id, record)
    return list(by_id.values())
