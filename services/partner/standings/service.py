"""Keeping how customers stand in step with the projections, in the transaction that changes one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.partner.customers.models import Cut
from services.partner.customers.repository import (
    CustomerRepository,
    ProvisioningRepository,
    SubscriptionRepository,
    UsageRepository,
)
from services.partner.standings.repository import StandingRepository
from shared.mongo import Transaction


@dataclass(frozen=True, slots=True)
class Projections:
    """What this service knows of others' data."""

    customers: CustomerRepository
    usage: UsageRepository
    provisioning: ProvisioningRepository
    subscriptions: SubscriptionRepository


class Standings:
    """Makes a customer's standing of what the projections hold. It can be made anew at any time."""

    def __init__(self, projections: Projections, standings: StandingRepository) -> None:
        self._from = projections
        self._standings = standings

    async def renew(self, tenant_id: str, at: datetime, tx: Transaction, cut: Cut | None = None) -> None:
        """Take over what the projections say now, because of an event of the time ``at``.

        Two events about one customer that are handled at once both write its standing: one waits for the other.
        """
        before = await self._standings.find_across_partners(tenant_id, tx)
        after = replace(
            before,
            heard_at=max(before.heard_at, at),
            tenant=await self._from.customers.find_across_partners(tenant_id, tx),
            usage=await self._from.usage.find_across_partners(tenant_id, tx),
            provisioning=await self._from.provisioning.find_across_partners(tenant_id, tx),
            subscription=await self._from.subscriptions.find_across_partners(tenant_id, tx),
        )
        if cut is not None:
            after = after.lose_seats(cut)
        if after != before:
            await self._standings.save(after, tx)
