"""Compares one tenant with every integration and makes these agree: level-triggered, so it can begin anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from copy import deepcopy
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter

from services.tenant.provisioning.deletions import Deletions
from services.tenant.provisioning.desires import Desires
from services.tenant.provisioning.drift.models import Acceptance, Differences, accepted_of
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.ledger import Ledger, Look, Looks
from services.tenant.provisioning.models import Desired, Finding
from services.tenant.provisioning.remote import Backend, Memo, finding_of
from services.tenant.provisioning.repository import Row
from shared.contracts.tenant import Integration
from shared.leases import Lease, LeaseLost
from shared.mongo import is_unavailable
from shared.tasks import end_tasks

log = structlog.get_logger()

LEASE = timedelta(seconds=10)
ATTEMPT_SECONDS = 60.0
ATTEMPT_SECONDS_PER_PERSON = 0.05
"""A tenant too large for one attempt is finished by the next: what was done stays done. Yet a look at all of its people
has to fit into one."""
CHANGED_PAUSE = timedelta(seconds=0.1)

_comparisons = Counter("dezky_provisioning_total", "Comparisons with an integration", ["integration", "status"])


class Reconciler:
    """``leases`` gives this replica's lease on a tenant: one replica at a time works on one."""

    def __init__(
        self,
        ledger: Ledger,
        desires: Desires,
        backends: Mapping[Integration, Backend],
        leases: Callable[[str], Lease],
        deletions: Deletions,
        acceptances: AcceptanceRepository,
    ) -> None:
        self._ledger = ledger
        self._desires = desires
        self._backends = backends
        self._leases = leases
        self._deletions = deletions
        self._acceptances = acceptances

    async def reconcile(self, tenant_id: str) -> bool:
        """Do one comparison; False if another replica has the tenant.

        Raises:
            one of DATABASE_UNAVAILABLE
        """
        lease = self._leases(f"provisioning/{tenant_id}")
        if not await lease.acquire() or lease.token is None:
            return False
        try:
            await _while_held(lease, self._compare(tenant_id, lease.token))
        except LeaseLost:
            return False
        finally:
            await lease.release()
        return True

    async def _compare(self, tenant_id: str, token: int) -> None:
        row = await self._ledger.rows.take(tenant_id, token)
        desired = await self._desires.of_tenant(row.slug, row.remembered)
        if desired is None:
            await self._ledger.rows.postpone(tenant_id, token, self._ledger.resync)
            return
        concerned = {*row.remembered, *(member.human.id for member in desired.members)}
        await self._ledger.rows.expect(tenant_id, token, sorted(concerned))
        looks = await self._look_everywhere(desired, row, token)
        # A person is in several tenants: what two comparisons at once did to them is right only if neither
        # worked from what is no longer so.
        if await self._desires.of_tenant(row.slug, row.remembered) != desired:
            await self._forget_drift(row, token, looks)
            await self._ledger.rows.postpone(tenant_id, token, CHANGED_PAUSE)
            return
        await self._settle(row, token, desired, looks)

    async def _settle(self, row: Row, token: int, desired: Desired, looks: Looks) -> None:
        kept = await self._ledger.settle(row, token, desired, looks)
        for name, look in looks.items():
            met = look.differences.tolerated & look.differences.accepted
            await self._acceptances.seen(
                tenant_id=row.tenant_id, integration=name, found=met, at=self._ledger.clock.now()
            )
        if kept is not None and desired.gone:
            await self._deletions.finish(kept, token)

    async def _forget_drift(self, row: Row, token: int, looks: Looks) -> None:
        """What was compared with records that are no longer so was nobody's drift."""
        for name, look in looks.items():
            if look.differences.told != row.drift.get(name, []):
                await self._ledger.rows.found(row.tenant_id, token, name, row.drift.get(name, []))

    async def _look_everywhere(self, desired: Desired, row: Row, token: int) -> Looks:
        """Look at all integrations at once; one that raises ends the others: nothing goes on without a lease."""
        accepted: list[Acceptance] = []
        if desired.open:  # nothing that is accepted keeps a tenant open that has to be shut
            accepted = await self._acceptances.in_force(tenant_id=row.tenant_id, now=self._ledger.clock.now())
        earlier = self._looked_earlier(desired, row)
        backends = {name: backend for name, backend in self._backends.items() if name not in earlier}
        all_found = {name: self._differences(name, desired, row, token, accepted) for name in backends}
        try:
            async with asyncio.TaskGroup() as group:
                looks = {
                    name: group.create_task(self._look(name, backend, desired, row, token, all_found[name]))
                    for name, backend in backends.items()
                }
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        now = self._ledger.clock.now()
        return {**earlier, **{name: Look(look.result(), all_found[name], now) for name, look in looks.items()}}

    def _looked_earlier(self, desired: Desired, row: Row) -> Looks:
        """Return what need not be looked at again: a comparison that failed is repeated for what did not agree.

        Otherwise, of three integrations that often fail, all would have to be well in one and the same comparison. What
        is looked at at every resync is looked at then all the same.
        """
        now, found = self._ledger.clock.now(), dict[Integration, Look]()
        for name, agreement in row.agreed.items() if row.attempts > 0 else ():
            same = agreement.fingerprint == desired.fingerprint and name in self._backends
            if same and now - agreement.at < self._ledger.resync:
                told = Differences(name, told=list(row.drift.get(name, [])))
                found[name] = Look(agreement.finding, told, agreement.at, earlier=True)
        return found

    def _differences(
        self, name: Integration, desired: Desired, row: Row, token: int, accepted: list[Acceptance]
    ) -> Differences:
        """Differences are drift where all agreed on just what is desired now."""
        before = row.conditions.get(name)
        agreed = before is not None and before.status == "ready" and _fingerprint(row, name) == desired.fingerprint
        keep = partial(self._ledger.rows.found, row.tenant_id, token, name) if agreed else None
        return Differences(name, accepted_of(accepted, name), keep, list(row.drift.get(name, [])))

    async def _look(
        self, name: Integration, backend: Backend, desired: Desired, row: Row, token: int, found: Differences
    ) -> Finding:
        save = partial(self._ledger.rows.remember, row.tenant_id, token, name)
        # Of a copy: the row stays what was read.
        memo = Memo(deepcopy(row.memos.get(name, {})), save)
        people = max(len(desired.members), len(desired.leavers))
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS + ATTEMPT_SECONDS_PER_PERSON * people):
                finding = await backend.reconcile(desired, memo, found)
        except LeaseLost:
            raise
        except Exception as error:
            if is_unavailable(error):
                raise
            finding = _judge(error, name, desired)
        _comparisons.labels(name, finding.status).inc()
        if finding.status != "ready":
            log.warning("provisioning.not_ready", tenant=desired.slug, integration=name, reason=finding.reason)
        return finding


def _fingerprint(row: Row, name: Integration) -> str:
    agreement = row.agreed.get(name)
    return "" if agreement is None else agreement.fingerprint


def _judge(error: Exception, name: Integration, desired: Desired) -> Finding:
    """One integration that is not understood must not keep the others from being compared."""
    try:
        return finding_of(error)
    except Exception:
        log.exception("provisioning.failed", tenant=desired.slug, integration=name)
        return Finding("pending", "InternalError", "an error of ours; it is in the log")


async def _while_held(lease: Lease, work: Coroutine[Any, Any, None]) -> None:
    """Await ``work``, renewing the lease; end it as soon as the lease cannot be renewed.

    Raises:
        LeaseLost: it passed to another replica. Otherwise what ``work`` raises.
    """
    working = asyncio.create_task(work)
    beating = asyncio.create_task(_renew(lease))
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = working.done()
        await end_tasks([task for task in (working, beating) if not task.done()])
    (working if done else beating).result()


async def _renew(lease: Lease) -> None:
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 3)
        if not await lease.acquire():
            raise LeaseLost("the lease has passed to another replica")
