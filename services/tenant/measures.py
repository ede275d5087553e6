"""What waits in the tenant service: what the identity provider is to be told, and comparisons with integrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import Gauge

from services.tenant.people.tasks.models import TaskKind
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.provisioning.repository import ProvisioningRepository
from shared.clock import Clock
from shared.measuring import Measure
from shared.mongo import Mongo

_open = Gauge("dezky_people_tasks_open", "What the identity provider is to be told and has not been yet", ["kind"])
_oldest = Gauge("dezky_people_tasks_oldest_seconds", "Age of the oldest such task; 0 if there is none", ["kind"])
_failing = Gauge("dezky_provisioning_failing_tenants", "Tenants that do not agree with some integration")
_overdue = Gauge("dezky_provisioning_overdue_seconds", "For how long the comparison that is due longest has been")


def measures(mongo: Mongo, clock: Clock) -> Sequence[Measure]:
    """Return them over the service's database."""
    tasks, rows = TaskRepository(mongo, clock), ProvisioningRepository(mongo)

    async def look_at_tasks() -> None:
        backlog = await tasks.backlog()
        for kind in get_args(TaskKind):
            count, age = backlog.get(kind, (0, None))
            _open.labels(kind).set(count)
            _oldest.labels(kind).set(0 if age is None else age.total_seconds())

    async def look_at_provisioning() -> None:
        _failing.set(await rows.failing_across_tenants())
        _overdue.set(await rows.overdue_across_tenants())

    return [
        Measure("people-tasks", look_at_tasks, [_open, _oldest]),
        Measure("provisioning", look_at_provisioning, [_failing, _overdue]),
    ]
