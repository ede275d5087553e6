"""What the flags service hears: tenants, so that it can evaluate for them."""

from __future__ import annotations

from services.flags.repository import TenantProjection
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import tenant_state_of
from shared.mongo import Transaction

TENANTS = "flags-tenants"


class TenantEvents:
    """Keeps the projection of tenants."""

    def __init__(self, tenants: TenantProjection) -> None:
        self._tenants = tenants

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``tenant.*`` event; refusals and progress say nothing about a tenant."""
        if (state := tenant_state_of(event)) is not None:
            await self._tenants.apply(state, tx)
