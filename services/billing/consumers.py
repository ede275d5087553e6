"""What the billing service hears: tenants."""

from __future__ import annotations

from services.billing.subscriptions import SubscriptionService
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import tenant_state_of
from shared.mongo import Transaction

TENANTS = "billing-tenants"


class TenantEvents:
    """Lets subscriptions follow their tenants."""

    def __init__(self, subscriptions: SubscriptionService) -> None:
        self._subscriptions = subscriptions

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``tenant.*`` event; refusals and progress say nothing about a tenant."""
        if (state := tenant_state_of(event)) is not None:
            await self._subscriptions.follow(state, event.id, tx)
