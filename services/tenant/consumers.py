"""What the tenant service hears: partners and prices, so that no tenant is created without either, and who has
forgotten a person whom it erased."""

from __future__ import annotations

from services.tenant.people.erasure.report.models import Part
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.projections.repository import PartnerProjection, PriceProjection
from services.tenant.terminations import PartnerEnds
from shared.contracts.billing import PriceState
from shared.contracts.envelope import CloudEvent
from shared.contracts.forgetting import AuditPersonForgotten, PersonForgotten
from shared.contracts.partner import PartnerState, PartnerTerminationStarted
from shared.mongo import Transaction

PARTNERS = "tenant-partners"
PRICES = "tenant-prices"
FORGOTTEN = "tenant-forgotten"


class PartnerEvents:
    """Keeps the projection of partners, and answers a partner's end from the tenants of that moment."""

    def __init__(self, partners: PartnerProjection, ends: PartnerEnds) -> None:
        self._partners = partners
        self._ends = ends

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``partner.*`` event; a denial and a saved report say nothing about a partner."""
        if "state" not in event.data or not event.subject.startswith("partners/"):
            return
        state = PartnerState.model_validate(event.data["state"])
        await self._partners.apply(state, tx)
        if event.type == PartnerTerminationStarted.type:
            await self._ends.begin(state, tx)


class PriceEvents:
    """Keeps the projection of the catalog."""

    def __init__(self, prices: PriceProjection) -> None:
        self._prices = prices

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``price.*`` event."""
        if "state" in event.data:
            await self._prices.apply(PriceState.model_validate(event.data["state"]), tx)


class ForgottenEvents:
    """Keeps what each service has answered to an erasure."""

    def __init__(self, book: ErasureBook) -> None:
        self._book = book

    async def handle(self, event: CloudEvent, tx: Transaction) -> None:
        """Apply one ``<service>.person_forgotten.v1``, in any order and whatever is known of the person."""
        told = PersonForgotten.model_validate(event.data)
        keys = AuditPersonForgotten.model_validate(event.data).keys if event.type == AuditPersonForgotten.type else None
        part = Part(event.time, told.events, told.answers, keys)
        await self._book.add(told.resource.id, event.source, part, tx)
