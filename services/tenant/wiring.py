"""The part of the composition root that is about tenants themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.tenant.deletions import Deletions
from services.tenant.ownership import Ownership
from services.tenant.people.repository import PeopleRepository
from services.tenant.projections.repository import PartnerProjection, PriceProjection
from services.tenant.provisioning.intents import Intents
from services.tenant.records import Records
from services.tenant.repository import TenantRepository
from services.tenant.service import TenantService
from services.tenant.settings import TenantSettings
from services.tenant.transfers.repository import TransferRepository
from services.tenant.transfers.service import Transfers
from services.tenant.transfers.worker import ExpiryWorker
from shared.app import Platform


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The use cases of tenants, and the worker that closes what nobody answered."""

    tenants: TenantService
    deletions: Deletions
    ownership: Ownership
    transfers: Transfers
    expiry: ExpiryWorker


def wire_lifecycle(
    platform: Platform,
    settings: TenantSettings,
    tenants: TenantRepository,
    partners: PartnerProjection,
    prices: PriceProjection,
    intents: Intents,
) -> Lifecycle:
    """Wire them; connects to nothing yet."""
    mongo = platform.mongo
    records = Records(
        tenants=tenants,
        partners=partners,
        prices=prices,
        people=PeopleRepository(mongo),
        intents=intents,
        transactions=mongo.transactions,
        outbox=platform.outbox,
        clock=platform.clock,
    )
    transfers = Transfers(records, TransferRepository(mongo), timedelta(days=settings.transfer_days))
    return Lifecycle(
        tenants=TenantService(records),
        deletions=Deletions(records, timedelta(days=settings.deletion_grace_days)),
        ownership=Ownership(records, timedelta(days=settings.detached_days)),
        transfers=transfers,
        expiry=ExpiryWorker(transfers, platform.lease("transfer-expiry")),
    )
