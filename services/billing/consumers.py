"""What the billing service hears: tenants."""

from __future__ import annotations

from services.billing.subscriptions import SubscriptionService
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import TenantState
from shared.mongo import Transaction

TENANTS = "billing-tenants"


class TenantEvents:
    """Lets subscriptions follow their tenants."""

    def __init__(self, subscriptions: SubscriptionService) -> None:
        self._subscriptions = subscriptions

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``tenant.*`` event; one without a state (a denial) says nothing about a tenant."""
        if "state" in event.data:
            await self._subscriptions.follow(TenantState.model_validate(event.data["state"]), event.id, tx)
