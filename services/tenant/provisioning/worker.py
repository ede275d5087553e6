"""Keeps comparing: whatever is due, several tenants at once, woken by changes. Polling is the truth."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.tenant.provisioning.deletions import Deletions
from services.tenant.provisioning.drift.service import DriftService
from services.tenant.provisioning.reconciler import Reconciler
from services.tenant.provisioning.repository import ProvisioningRepository
from shared.leases import Lease
from shared.mongo import Mongo, is_unavailable, wait_until_available
from shared.tasks import end_tasks

log = structlog.get_logger()

AT_ONCE = 8
POLL_SECONDS = 1.0
TIMER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Timers:
    """What happens because its time has come, in one replica at a time: erasures begin, acceptances end.

    What is due is read from the database, so nothing is missed while nobody looks.
    """

    deletions: Deletions
    drift: DriftService
    lease: Lease

    async def tick(self) -> None:
        """Do what is due; in another replica that holds the lease, nothing.

        Raises:
            one of DATABASE_UNAVAILABLE
        """
        if await self.lease.acquire():
            await self.deletions.begin()
            await self.drift.expire()


class ProvisioningWorker:
    """Runs in every replica; the lease on each tenant keeps replicas apart.

    ``follow`` says that there are integrations, which have to be told of changes and of tenants that they never saw.
    """

    def __init__(
        self,
        mongo: Mongo,
        rows: ProvisioningRepository,
        reconciler: Reconciler,
        resync: timedelta,
        timers: Timers | None = None,
        *,
        follow: bool = True,
    ) -> None:
        self._mongo = mongo
        self._rows = rows
        self._reconciler = reconciler
        self._resync = resync
        self._timers = timers
        self._follow = follow
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; the database and every integration may be away."""
        helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._adopt())] if self._follow else []
        if self._timers is not None:
            helpers.append(asyncio.create_task(self._keep_time(self._timers)))
        try:
            while True:
                await self._round()
        finally:
            await end_tasks([*helpers, *self._busy.values()])

    async def _round(self) -> None:
        self._wake.clear()
        try:
            free = AT_ONCE - len(self._busy)
            for tenant_id in await self._rows.due(free, self._busy) if free else ():
                self._busy[tenant_id] = asyncio.create_task(self._one(tenant_id))
        except Exception as error:
            # The loop must survive; what was due is due still.
            if not is_unavailable(error):
                log.exception("provisioning.worker_failed")
            await wait_until_available(self._mongo)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()

    async def _one(self, tenant_id: str) -> None:
        try:
            # What another replica works on is due here, too, until it is done: no reason to look again at once.
            if await self._reconciler.reconcile(tenant_id):
                self._wake.set()
        except Exception as error:
            if not is_unavailable(error):
                log.exception("provisioning.comparison_failed", tenant_id=tenant_id)
        finally:
            self._busy.pop(tenant_id, None)

    async def _watch(self) -> None:
        """Ask for a comparison when somebody changes. Losing the stream costs latency only: the resync finds it."""
        while True:
            try:
                async for change in self._rows.changes():
                    if change is not None:
                        await self._rows.want_for(*change)
                    self._wake.set()
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("provisioning.watch_failed")
            await asyncio.sleep(POLL_SECONDS)

    async def _keep_time(self, timers: Timers) -> None:
        try:
            while True:
                try:
                    await timers.tick()
                except Exception as error:
                    # The loop must survive; what was due is due still.
                    if not is_unavailable(error):
                        log.exception("provisioning.timers_failed")
                await asyncio.sleep(min(TIMER_SECONDS, self._resync.total_seconds()))
        finally:
            await timers.lease.release()

    async def _adopt(self) -> None:
        """Take on tenants from before any integration was configured, once: every later one has its row from birth."""
        while True:
            try:
                while await self._rows.want_all_missing():
                    self._wake.set()
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("provisioning.adopt_failed")
                await asyncio.sleep(POLL_SECONDS)
            else:
                return
