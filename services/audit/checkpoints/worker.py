"""The loop that makes checkpoints when they are due, and keeps the witness up to date.

Every replica runs it. The head is read once a second, which is also why there is at most one checkpoint a second.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from services.audit.checkpoints.models import Reason, Row
from services.audit.checkpoints.repository import CheckpointRepository, SupersededError
from services.audit.checkpoints.witness import Copier, age_of, copied
from services.audit.checkpoints.writer import CheckpointBusy, CheckpointRefused, CheckpointWriter, Log
from services.audit.models import Head
from shared.clock import Clock
from shared.leases import LeaseLost

log = structlog.get_logger()

TICK_SECONDS = 1.0
THRESHOLD = 100
INTERVAL = timedelta(minutes=5)
# What was refused stays refused until somebody looks; the witness may come back at any moment.
REFUSED_SECONDS = 60.0
AWAY = timedelta(seconds=10)

_unwitnessed = Gauge("dezky_audit_unwitnessed_entries", "Entries after the newest checkpoint that the witness holds")
_age = Gauge("dezky_audit_unwitnessed_seconds", "How long there have been entries that the witness does not vouch for")


class CheckpointWorker:
    """`run` is one of the service's workers."""

    def __init__(
        self,
        log_: Log,
        repository: CheckpointRepository,
        writer: CheckpointWriter,
        copier: Copier | None,
        clock: Clock,
    ) -> None:
        self._log = log_
        self._repository = repository
        self._writer = writer
        self._copier = copier
        self._clock = clock
        self._started = False
        self._waiting_since: datetime | None = None
        self._witness_through = -1
        self._copy_at = clock.now()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            pause = await self.tick()
            await asyncio.sleep(pause)

    async def tick(self) -> float:
        """Do what is due now; returns the seconds until the next look."""
        head, newest = await self._log.head() or Head(), await self._repository.newest()
        reason = self.due(head, newest)
        self._started = True
        pause = TICK_SECONDS
        if reason is not None:
            try:
                made = await self._writer.make(reason)
            except CheckpointRefused:
                pause = REFUSED_SECONDS
            except (SupersededError, LeaseLost, CheckpointBusy) as error:
                log.info("audit.checkpoint_left_to_another", error=str(error))
            else:
                newest = newest if made is None else made.row
                self._waiting_since = None
        await self._copy(newest)
        await self._measure(head)
        return pause

    def due(self, head: Head, newest: Row | None) -> Reason | None:
        """Why a checkpoint is due; None when it is not, or when nothing is new."""
        if newest is None:
            # The first entry does not wait: a log without any checkpoint can be replaced as a whole.
            return "startup" if head.seq else None
        signed = newest.get("headSeq")
        if not isinstance(signed, int) or head.seq < signed or not self._started:
            # A log shorter than what was signed is refused by the writer, which raises the alarm.
            return "startup"
        new = head.seq - signed
        if new == 0:
            self._waiting_since = None
            return None
        if new >= THRESHOLD:
            return "threshold"
        if self._waiting_since is None:
            self._waiting_since = self._clock.now()
        waited = self._clock.now() - self._waiting_since
        return "interval" if waited >= INTERVAL else None

    async def _copy(self, newest: Row | None) -> None:
        """Bring the witness up to date, if it is not. While it is away, checkpoints are made all the same."""
        now = self._clock.now()
        if self._copier is None or newest is None or newest["_id"] == self._witness_through or now < self._copy_at:
            return
        if await copied(self._copier):
            self._witness_through = await self._repository.copied()
        else:
            self._copy_at = now + AWAY

    async def _measure(self, head: Head) -> None:
        number = await self._repository.copied() if self._copier is not None else 0
        row = await self._repository.row(number) if number else None
        through = 0 if row is None else int(row["headSeq"])
        _unwitnessed.set(max(0, head.seq - through))
        # A witness that has never been reached is as far behind as the first checkpoint is old.
        since = row if row is not None or self._copier is None else await self._repository.row(1)
        waiting = head.seq > through
        _age.set(age_of(since, self._clock).total_seconds() if waiting and since is not None else 0)
