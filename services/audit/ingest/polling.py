"""The loop around a source that is asked: under a lease, for as long as the service runs."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog
from prometheus_client import Counter

from services.audit.ingest.models import Source, SourceBusy, SourceError
from services.audit.ingest.repository import IngestRepository
from shared.clock import Clock
from shared.leases import Lease, LeaseLost
from shared.mongo import is_unavailable

log = structlog.get_logger()

RENEW_SECONDS = 3.0
SLOWER = 6
"""After a failure the source is asked so many times less often, but at least once a minute."""

_failures = Counter("dezky_audit_ingest_failures_total", "Attempts to read a source that failed", ["source"])


class Poll(Protocol):
    """One attempt; True if there is more to be had at once."""

    async def once(self) -> bool: ...


class Polling:
    """Asks one source every so many seconds, while this replica holds the source's lease."""

    def __init__(
        self, source: Source, poll: Poll, lease: Lease, repository: IngestRepository, clock: Clock, every: float
    ) -> None:
        self._source = source
        self._poll = poll
        self._lease = lease
        self._repository = repository
        self._clock = clock
        self._every = every
        self._renew_at = 0.0

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                pause = await self.once()
                await asyncio.sleep(pause)
        finally:
            await self._lease.release()

    async def once(self) -> float:
        """Ask once; returns the seconds until the next time."""
        try:
            if time.monotonic() >= self._renew_at:
                await self._lease.hold()
                self._renew_at = time.monotonic() + RENEW_SECONDS
            return 0.0 if await self._poll.once() else self._every
        except LeaseLost:
            self._renew_at = 0.0
            return self._every
        except SourceBusy as busy:
            await self._failed(busy.reason)
            return max(float(busy.retry_after), self._every)
        except SourceError as error:
            await self._failed(error.reason)
        except Exception as error:
            # The loop must survive, and what could not be stored is read again.
            if is_unavailable(error):
                raise
            log.exception("ingest.failed", source=self._source)
            await self._failed("an unexpected error: see the log")
        return min(self._every * SLOWER, 60.0)

    async def _failed(self, reason: str) -> None:
        _failures.labels(self._source).inc()
        log.warning("ingest.source_failed", source=self._source, reason=reason)
        await self._repository.fail(self._source, reason, self._clock.now())
