"""What the tenant service hears: partners and prices, so that no tenant is created without either."""

from __future__ import annotations

from services.tenant.repository import PartnerProjection, PriceProjection
from shared.contracts.billing import PriceState
from shared.contracts.envelope import CloudEvent
from shared.contracts.partner import PartnerState
from shared.mongo import Transaction

PARTNERS = "tenant-partners"
PRICES = "tenant-prices"


class PartnerEvents:
    """Keeps the projection of partners."""

    def __init__(self, partners: PartnerProjection) -> None:
        self._partners = partners

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``partner.*`` event; one without a state (a denial) says nothing about a partner."""
        if "state" in event.data:
            await self._partners.apply(PartnerState.model_validate(event.data["state"]), tx)


class PriceEvents:
    """Keeps the projection of the catalog."""

    def __init__(self, prices: PriceProjection) -> None:
        self._prices = prices

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``price.*`` event."""
        if "state" in event.data:
            await self._prices.apply(PriceState.model_validate(event.data["state"]), tx)
