"""Archives as operators handle them, and the daily run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from services.audit.cold.archiver import Archiver
from services.audit.cold.models import ArchiverAbsent, ArchiveRunning, Ran
from services.audit.cold.mover import Tenure
from services.audit.cold.object_store import StoreUnavailable
from services.audit.cold.repository import ArchiveRepository, ColdRepository
from shared.actors import actor_of
from shared.auth import Person
from shared.clock import Clock
from shared.errors import DomainError, NotFound
from shared.leases import LeaseLost
from shared.paging import Page, decode_cursor, encode_cursor

log = structlog.get_logger()

TICK_SECONDS = 3600.0
_LIST: Mapping[str, Any] = {"list": "archives"}
_last_run = Gauge(
    "dezky_audit_archive_run_timestamp_seconds", "Begin of the day (UTC) whose run was the last to end well; 0 if none"
)
_failures = Counter("dezky_audit_archive_failures_total", "Runs of the archiver that did not end well", ["reason"])


class ArchiveService:
    """Lists batches; runs and restores where an archiver is configured."""

    def __init__(self, rows: ColdRepository, tenure: Tenure | None = None, archiver: Archiver | None = None) -> None:
        self._rows = rows
        self._tenure = tenure
        self._archiver = archiver

    async def list_across_tenants(self, cursor: str | None, limit: int) -> Page[Mapping[str, Any]]:
        """One page of the batches, the newest first."""
        place = decode_cursor(cursor, _LIST, (int,))
        rows = await self._rows.below(place[0] if place else None, limit + 1)
        following = encode_cursor([rows[limit - 1]["_id"]], _LIST) if len(rows) > limit else None
        return Page(rows[:limit], following)

    async def run(self, caller: Person) -> Ran:
        """Archive now. Raises ArchiverAbsent, ArchiveRunning, and what `Archiver.run` raises."""
        tenure, archiver = self._configured()
        async with tenure.held(), counted():
            await archiver.requested(actor_of(caller))
            return await archiver.run(actor_of(caller))

    async def restore(self, start_seq: int, caller: Person) -> Mapping[str, Any]:
        """Put a batch back into MongoDB. Raises NotFound, and like `run`."""
        tenure, archiver = self._configured()
        async with tenure.held():
            row = await archiver.restore(start_seq, actor_of(caller))
        if row is None:
            raise NotFound(f"there is no batch from {start_seq} on")
        return row

    def _configured(self) -> tuple[Tenure, Archiver]:
        if self._tenure is None or self._archiver is None:
            raise ArchiverAbsent("set AUDIT_COLD_ENDPOINT and AUDIT_ARCHIVER_MONGO_URI")
        return self._tenure, self._archiver


class ArchiveSchedule:
    """Looks every hour whether today's run is due, and has been nobody's yet."""

    def __init__(
        self, tenure: Tenure, archiver: Archiver, repository: ArchiveRepository, clock: Clock, hour_utc: int
    ) -> None:
        self._tenure = tenure
        self._archiver = archiver
        self._repository = repository
        self._clock = clock
        self._hour = hour_utc

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await self.tick()
            except (ArchiveRunning, LeaseLost, StoreUnavailable) as error:
                log.warning("audit.archive_postponed", reason=error.code)
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> bool:
        """Archive if it is due today; whether it was. A run that fails leaves the day open for the next hour."""
        now = self._clock.now()
        day, last = now.date().isoformat(), await self._repository.last_day()
        _show(last)
        if now.hour < self._hour or last == day:
            return False
        async with self._tenure.held():
            if await self._repository.last_day() == day:
                return False
            async with counted():
                while (await self._archiver.run()).more:
                    continue
            await self._repository.set_last_day(day)
        _show(day)
        return True


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[None]:
    """Count a run that does not end well, by the code of its error."""
    try:
        yield
    except Exception as error:
        _failures.labels(error.code if isinstance(error, DomainError) else "error").inc()
        raise


def _show(day: str | None) -> None:
    _last_run.set(0 if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
