"""Whose customer a tenant is, on the word of an operator; ``transfers`` holds what partners ask for."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.tenant.models import Tenant
from services.tenant.records import Change, Records, Seen
from services.tenant.service import about, resource_of
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.tenant import TenantAttached, TenantDetached, TenantEvent
from shared.errors import Invalid
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction

LONGEST_WAIT = timedelta(days=366)


class Ownership:
    """``wait`` is how long a tenant waits for a partner unless a date is given."""

    def __init__(self, records: Records, wait: timedelta) -> None:
        self._records = records
        self._wait = wait

    async def attach(
        self, caller: Person, slug: str, partner: str, expected: int | None, claim: IdempotencyClaim
    ) -> Seen:
        """Give a tenant without a partner to one that is active; to its own partner is a no-op.

        Raises:
            NotFound, StaleVersion. BelongsToPartner: to another. PartnerNotActive. WrongStatus: it is deleted.
        """

        async def check(_: Tenant, __: Tenant, tx: Transaction) -> None:
            await self._records.partners.require_active(partner, tx)

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantAttached(**about(actor_of(caller), before, after))

        change = Change(lambda tenant: tenant.attach(partner, self._records.clock.now()), event, check)
        return await self._records.change(slug, change, expected, claim)

    async def detach(
        self, caller: Person, slug: str, until: datetime | None, expected: int | None, claim: IdempotencyClaim
    ) -> Seen:
        """Take a tenant from its partner; it waits for another until a date. Detaching twice is a no-op.

        Raises:
            NotFound, StaleVersion. Invalid: ``until`` is past, or too far. WrongStatus: it is deleted.
        """
        now = self._records.clock.now()
        if until is not None and not now < until <= now + LONGEST_WAIT:
            message = f"give a time in the future, at most {LONGEST_WAIT.days} days from now"
            raise Invalid.field("until", "bad_until", message)
        ends = until or now + self._wait

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            # In the scope of the partner that loses it: nobody else would ever be told.
            return TenantDetached(**{**about(actor_of(caller), before, after), "resource": resource_of(before)})

        change = Change(lambda tenant: tenant.detach(ends, self._records.clock.now()), event)
        return await self._records.change(slug, change, expected, claim)
