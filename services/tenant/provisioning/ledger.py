"""Writes down what was found: conditions with their events, and the activation that follows from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from prometheus_client import Counter

from services.tenant.models import Tenant
from services.tenant.patience import spread
from services.tenant.people.tasks.models import pause
from services.tenant.provisioning.drift.models import MOST_TOLD, Differences
from services.tenant.provisioning.models import Agreement, Condition, Desired, Finding, all_ready, untried
from services.tenant.provisioning.repository import ProvisioningRepository, Row, jittered
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.service import about, resource_of
from shared.actors import system
from shared.clock import Clock
from shared.contracts.envelope import Event, Resource
from shared.contracts.tenant import (
    DriftState,
    Integration,
    TenantActivated,
    TenantDriftRepaired,
    TenantProvisioningChanged,
)
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

ACTOR = system("provisioning")
ERASED_PAUSE = timedelta(seconds=1)
"""Between the last look at what is erased and the end of the deletion, if that was interrupted."""

_drift = Counter("dezky_provisioning_drift_total", "Differences found and repaired", ["integration", "kind"])


@dataclass(frozen=True, slots=True)
class Look:
    """What one comparison with one integration found, and what it found otherwise.

    Attributes:
        earlier: the look of a comparison before this one, which failed elsewhere: it is not repeated for that.
    """

    finding: Finding
    differences: Differences
    at: datetime
    earlier: bool = False


Looks = Mapping[Integration, Look]


@dataclass(frozen=True, slots=True)
class Ledger:
    """``resync`` is how long what agrees is left alone."""

    rows: ProvisioningRepository
    tenants: TenantRepository
    transactions: Transactions
    outbox: Outbox
    clock: Clock
    resync: timedelta

    async def settle(self, row: Row, token: int, desired: Desired, looks: Looks) -> Row | None:
        """Keep what was found about ``desired``, unless the tenant has changed meanwhile; return the row as kept.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        told: list[DriftState] = []

        async def body(tx: Transaction) -> Row | None:
            told.clear()
            tenant = await self.tenants.find(scope=EVERYTHING, slug=row.slug, tx=tx)
            if tenant is None or tenant.version != desired.generation:
                return None  # whoever changed it has asked for another comparison
            after, events = self._judge(row, tenant, desired, looks)
            told.extend(_told(looks))
            if told:
                events.append(TenantDriftRepaired(actor=ACTOR, resource=resource_of(tenant), drift=tuple(told)))
            if tenant.status == "pending" and all_ready(after.conditions.values(), tenant.version):
                after, activated = await self._activate(tenant, after, tx)
                events.append(activated)
            await self.rows.settle(after, token, self._delay(after, tenant, looks), tx)
            await self.outbox.add(tx, *events)
            return after

        after = await self.transactions.run(body)
        for one in told:
            _drift.labels(one.integration, one.kind).inc()
        return after

    def _judge(self, row: Row, tenant: Tenant, desired: Desired, looks: Looks) -> tuple[Row, list[Event]]:
        now = self.clock.now()
        agree = {name for name, look in looks.items() if look.finding.status == "ready"}
        after = replace(
            row,
            conditions={},
            attempts=0 if len(agree) == len(looks) else row.attempts + 1,
            agreed={name: _agreement(desired, looks[name]) for name in agree},
            drift={name: look.differences.told for name, look in looks.items() if name not in agree},
            left=tuple(one for name, look in looks.items() for one in _left(row, name, look)),
        )
        changed: list[tuple[Integration, Condition, Condition]] = []
        for name, look in looks.items():
            before = row.conditions.get(name) or untried(tenant.created_at)
            condition = before.after(look.finding, tenant.version, now)
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

    def _delay(self, row: Row, tenant: Tenant, looks: Looks) -> timedelta | None:
        if row.attempts > 0:
            least = spread(max(look.finding.retry_after for look in looks.values()))
            longest = pause(row.attempts, random.random())  # noqa: S311 - jitter
            return max(timedelta(seconds=least), min(longest, self.resync))
        if tenant.status == "deleted":
            return None
        return ERASED_PAUSE if tenant.erasing else jittered(self.resync)


def _agreement(desired: Desired, look: Look) -> Agreement:
    return Agreement(desired.fingerprint, look.at, look.finding.reason, dict(look.finding.gone))


def _left(row: Row, name: Integration, look: Look) -> list[DriftState]:
    if look.earlier:
        return [one for one in row.left if one.integration == name]
    return [one.state(name) for one in look.differences.left]


def _told(looks: Looks) -> list[DriftState]:
    """Return what was found otherwise and is right again."""
    ready = {name: look.differences.told for name, look in looks.items() if look.finding.status == "ready"}
    return [one.state(name) for name, found in ready.items() for one in found][:MOST_TOLD]


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
    return TenantProvisioningChanged.model_validate(
        {
            "actor": ACTOR,
            "outcome": "failure" if after.status == "failed" else "success",
            "resource": resource,
            "version": row.version,
            "integration": name,
            "state": row.state,
            "changes": changes,
        }
    )
