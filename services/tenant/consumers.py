"""What the tenant service hears: partners, so that a tenant is never created under one that is not active."""

from __future__ import annotations

from services.tenant.repository import PartnerProjection
from shared.contracts.envelope import CloudEvent
from shared.contracts.partner import PartnerState
from shared.mongo import Transaction

PARTNERS = "tenant-partners"


class PartnerEvents:
    """Keeps the projection of partners."""

    def __init__(self, partners: PartnerProjection) -> None:
        self._partners = partners

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``partner.*`` event; one without a state (a denial) says nothing about a partner."""
        if "state" in event.data:
            await self._partners.apply(PartnerState.model_validate(event.data["state"]), tx)
