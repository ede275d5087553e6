"""Writes down what was found: conditions with their events, and the activation that follows from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from services.tenant.models import Tenant
from services.tenant.people.tasks.models import pause
from services.tenant.provisioning.models import Condition, Desired, Finding, all_ready, untried
from services.tenant.provisioning.repository import ProvisioningRepository, Row, jittered
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.service import about
from shared.actors import system
from shared.clock import Clock
from shared.contracts.envelope import Event, Resource
from shared.contracts.tenant import (
    Integration,
    ProvisioningState,
    TenantActivated,
    TenantProvisioningChanged,
)
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

ACTOR = system("provisioning")
Findings = Mapping[Integration, Finding]


@dataclass(frozen=True, slots=True)
class Ledger:
    """``resync`` is how long what agrees is left alone."""

    rows: ProvisioningRepository
    tenants: TenantRepository
    transactions: Transactions
    outbox: Outbox
    clock: Clock
    resync: timedelta

    async def settle(self, row: Row, token: int, desired: Desired, findings: Findings) -> None:
        """Keep what was found about ``desired``, unless the tenant has changed meanwhile.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """

        async def body(tx: Transaction) -> None:
            tenant = await self.tenants.find(scope=EVERYTHING, slug=row.slug, tx=tx)
            if tenant is None or tenant.version != desired.generation:
                return  # whoever changed it has asked for another comparison
            after, events = self._judge(row, tenant, findings)
            if tenant.status == "pending" and all_ready(after.conditions.values(), tenant.version):
                after, activated = await self._activate(tenant, after, tx)
                events.append(activated)
            await self.rows.settle(after, token, self._delay(after, findings), tx)
            await self.outbox.add(tx, *events)

        await self.transactions.run(body)

    def _judge(self, row: Row, tenant: Tenant, findings: Findings) -> tuple[Row, list[Event]]:
        now = self.clock.now()
        agreed = all(finding.status == "ready" for finding in findings.values())
        after = replace(row, conditions={}, attempts=0 if agreed else row.attempts + 1)
        changed: list[tuple[Integration, Condition, Condition]] = []
        for name, finding in findings.items():
            before = row.conditions.get(name) or untried(tenant.created_at)
            condition = before.after(finding, tenant.version, now)
            after.conditions[name] = condition
            if condition.differs(before):
                changed.append((name, before, condition))
        events: list[Event] = []
        for name, before, condition in changed:
            after = replace(after, version=after.version + 1)
            events.append(_changed(tenant, after, name, before, condition))
        return after, events

    async def _activate(self, tenant: Tenant, row: Row, tx: Transaction) -> tuple[Row, Event]:
        active = tenant.activate(self.clock.now())
        await self.tenants.save(tenant, active, tx)
        # The status alone changed, from one open status to another: what was compared holds for this version, too.
        seen = {name: replace(c, observed_generation=active.version) for name, c in row.conditions.items()}
        return replace(row, conditions=seen), TenantActivated(**about(ACTOR, tenant, active))

    def _delay(self, row: Row, findings: Findings) -> timedelta:
        if row.attempts == 0:
            return jittered(self.resync)
        least = timedelta(seconds=max(finding.retry_after for finding in findings.values()))
        return max(least, min(pause(row.attempts, random.random()), self.resync))  # noqa: S311 - jitter


def _changed(tenant: Tenant, row: Row, name: Integration, before: Condition, after: Condition) -> Event:
    changes = {
        member: {"before": getattr(before, member), "after": getattr(after, member)}
        for member in ("status", "reason")
        if getattr(before, member) != getattr(after, member)
    }
    resource = Resource(
        type="provisioning",
        id=tenant.slug,
        name=tenant.name,
        tenant_slug=tenant.slug,
        partner_slug=tenant.partner,
    )
    state = ProvisioningState(
        tenant_id=tenant.id,
        slug=tenant.slug,
        conditions={known: condition.as_state() for known, condition in row.conditions.items()},
        version=row.version,
    )
    return TenantProvisioningChanged.model_validate(
        {
            "actor": ACTOR,
            "outcome": "failure" if after.status == "failed" else "success",
            "resource": resource,
            "version": row.version,
            "integration": name,
            "state": state,
            "changes": changes,
        }
    )
