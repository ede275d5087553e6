"""What the flags service hears: tenants, so that it can evaluate for them."""

from __future__ import annotations

from services.flags.repository import TenantProjection
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import TenantState
from shared.mongo import Transaction

TENANTS = "flags-tenants"


class TenantEvents:
    """Keeps the projection of tenants."""

    def __init__(self, tenants: TenantProjection) -> None:
        self._tenants = tenants

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``tenant.*`` event; one without a state (a denial) says nothing about a tenant."""
        if "state" in event.data:
            await self._tenants.apply(TenantState.model_validate(event.data["state"]), tx)
