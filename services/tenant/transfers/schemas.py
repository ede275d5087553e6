"""What the API of transfers takes and gives."""

from __future__ import annotations

from dataclasses import asdict

from services.tenant.schemas import SlugText
from services.tenant.transfers.models import Transfer
from shared.contracts.tenant import TransferStatus
from shared.schemas import Input, Timestamp, View


class OpenTransfer(Input):
    tenant: SlugText


class TransferView(View):
    """A partner's request to take over a tenant; that there is one does not say that there is such a tenant."""

    id: str
    tenant: str
    to_partner: str
    status: TransferStatus
    opened_at: Timestamp
    expires_at: Timestamp
    closed_at: Timestamp | None
    version: int


class TransferList(View):
    """A page of requests in the order in which they were opened."""

    items: list[TransferView]
    next: str | None


def transfer_view(transfer: Transfer) -> TransferView:
    return TransferView.model_validate(asdict(transfer))
