"""Keeping how customers stand in step with the projections, in the transaction that changes one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.partner.customers.models import Customer, Cut
from services.partner.customers.repository import (
    CustomerRepository,
    ProvisioningRepository,
    SubscriptionRepository,
    UsageRepository,
)
from services.partner.standings.repository import StandingRepository
from shared.clock import Clock
from shared.mongo import Transaction
from shared.projections.generations import Generations


@dataclass(frozen=True, slots=True)
class Projections:
    """What this service knows of others' data."""

    customers: CustomerRepository
    usage: UsageRepository
    provisioning: ProvisioningRepository
    subscriptions: SubscriptionRepository

    @property
    def generations(self) -> tuple[Generations[Any], ...]:
        owned = (self.customers, self.usage, self.provisioning, self.subscriptions)
        return tuple(each.generations for each in owned)


class Standings:
    """Makes a customer's standing of what the projections hold. It can be made anew at any time."""

    def __init__(self, projections: Projections, standings: StandingRepository, clock: Clock) -> None:
        self._from = projections
        self._standings = standings
        self._clock = clock

    async def renew(self, tenant_id: str, at: datetime, tx: Transaction, cut: Cut | None = None) -> None:
        """Take over what the projections say now, because of an event of the time ``at``.

        Two events about one customer that are handled at once both write its standing: one waits for the other.
        """
        (before,) = await self._standings.find_across_partners([tenant_id], tx)
        (after,) = await self._as_projected([before], tx)
        after = replace(after, heard_at=max(before.heard_at, at))
        if cut is not None:
            after = after.lose_seats(cut)
        if after != before:
            await self._standings.save(after, tx)

    async def ids(self, after: str, limit: int) -> list[str]:
        """Return the first ids that follow ``after``, in order, of tenants of which anything is known."""
        known = set(await self._standings.ids(after, limit))
        for each in self._from.generations:
            known.update(await each.ids(after, limit))
        return sorted(known)[:limit]

    async def mark(self, tenant_ids: Sequence[str], lap: int) -> None:
        """Write to what there is of these, so that whoever makes one of older rows conflicts, and tries again."""
        await self._standings.mark(tenant_ids, lap)

    async def remake(self, tenant_ids: Sequence[str], tx: Transaction) -> int:
        """Take over what the projections say now, though no event came; return of how many it was something else.

        What was otherwise counts as heard now. Cuts stay: no projection holds them.
        """
        before = await self._standings.find_across_partners(tenant_ids, tx)
        after = await self._as_projected(before, tx)
        otherwise = [new for old, new in zip(before, after, strict=True) if new != old]
        for customer in otherwise:
            await self._standings.save(replace(customer, heard_at=self._clock.now()), tx)
        return len(otherwise)

    async def _as_projected(self, before: Sequence[Customer], tx: Transaction) -> list[Customer]:
        ids = [customer.id for customer in before]
        tenants = await self._from.customers.find_across_partners(ids, tx)
        usage = await self._from.usage.find_across_partners(ids, tx)
        provisioning = await self._from.provisioning.find_across_partners(ids, tx)
        subscriptions = await self._from.subscriptions.find_across_partners(ids, tx)
        return [
            replace(
                customer,
                tenant=tenants.get(customer.id),
                usage=usage.get(customer.id),
                provisioning=provisioning.get(customer.id),
                subscription=subscriptions.get(customer.id),
            )
            for customer in before
        ]
