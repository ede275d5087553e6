"""Deleting a tenant and taking that back. What follows when the time is over is provisioning's work."""

from __future__ import annotations

from datetime import timedelta

from services.tenant.models import Tenant
from services.tenant.records import Change, Records, Seen
from services.tenant.service import about
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.tenant import TenantDeletionRequested, TenantEvent, TenantRestored
from shared.idempotency import IdempotencyClaim


class Deletions:
    """``grace`` is how long a deletion can be undone."""

    def __init__(self, records: Records, grace: timedelta) -> None:
        self._records = records
        self._grace = grace

    async def delete(
        self, caller: Person, slug: str, reason: str | None, expected: int | None, claim: IdempotencyClaim
    ) -> Seen:
        """Shut a tenant, and have its data erased once the grace is over; deleting twice is a no-op.

        Raises:
            NotFound, StaleVersion. WrongStatus: it is deleted.
        """

        def transition(tenant: Tenant) -> Tenant:
            now = self._records.clock.now()
            return tenant.delete(reason, now + self._grace, now)

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantDeletionRequested(**about(actor_of(caller), before, after))

        return await self._records.change(slug, Change(transition, event), expected, claim)

    async def restore(self, caller: Person, slug: str, expected: int | None, claim: IdempotencyClaim) -> Seen:
        """Undo a deletion: the tenant is what it was before; restoring twice is a no-op.

        Raises:
            NotFound, StaleVersion. RestoreTooLate: its data is being erased. WrongStatus: it is deleted.
        """

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantRestored(**about(actor_of(caller), before, after))

        change = Change(lambda tenant: tenant.restore(self._records.clock.now()), event)
        return await self._records.change(slug, change, expected, claim)
