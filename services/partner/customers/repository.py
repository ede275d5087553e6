"""The projections of other services' data in MongoDB: a class and a collection for each kind of state.

A row is made of nothing but the newest state of its aggregate. Events come twice and out of order, so a version that is
not newer than the one kept is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from services.partner.customers.models import (
    ProvisioningPart,
    Stay,
    SubscriptionPart,
    TenantPart,
    UsagePart,
    provisioning_part,
    subscription_part,
    tenant_part,
    usage_part,
)
from shared.contracts.billing import SubscriptionState
from shared.contracts.tenant import ProvisioningState, TenantState, UsageState
from shared.mongo import Document, Index, Mongo, Transaction

INDEXES: Mapping[str, Sequence[Index]] = {
    # Both keys of the count, so that it reads the index and no document.
    "customers": [Index([("partner", 1), ("status", 1)])],
}


class CustomerRepository:
    """The collection ``customers``: tenants as the tenant service last said they are."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["customers"]

    async def apply(self, state: TenantState, tx: Transaction) -> None:
        """Take over a tenant's state unless this version or a later one is there."""
        await _keep(self._rows, {"_id": state.id, **asdict(tenant_part(state))}, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> TenantPart | None:
        """Return what is known of a tenant."""
        row = await _find(self._rows, tenant_id, tx)
        if row is None:
            return None
        return TenantPart(**{**row, "stays": tuple([Stay(**stay) for stay in row["stays"]])})

    async def count_by_partner(self, *, partners: Sequence[str], tx: Transaction | None = None) -> dict[str, int]:
        """Return how many customers each of ``partners`` has, those deleted not counted; one with none is absent."""
        pipeline: list[Document] = [
            {"$match": {"partner": {"$in": list(partners)}, "status": {"$ne": "deleted"}}},
            {"$group": {"_id": "$partner", "n": {"$sum": 1}}},
        ]
        return {row["_id"]: row["n"] async for row in await self._rows.aggregate(pipeline, session=tx)}


class UsageRepository:
    """The collection ``usage``: how much tenants are used."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["usage"]

    async def apply(self, state: UsageState, tx: Transaction) -> None:
        """Take over a tenant's usage unless this version or a later one is there."""
        await _keep(self._rows, {"_id": state.tenant_id, **asdict(usage_part(state))}, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> UsagePart | None:
        """Return what is known of a tenant's usage."""
        row = await _find(self._rows, tenant_id, tx)
        return None if row is None else UsagePart(**row)


class ProvisioningRepository:
    """The collection ``provisioning``: since when integrations do not agree with tenants."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["provisioning"]

    async def apply(self, state: ProvisioningState, tx: Transaction) -> None:
        """Take over a tenant's conditions unless this version or a later one is there."""
        await _keep(self._rows, {"_id": state.tenant_id, **asdict(provisioning_part(state))}, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> ProvisioningPart | None:
        """Return what is known of a tenant's provisioning."""
        row = await _find(self._rows, tenant_id, tx)
        return None if row is None else ProvisioningPart(**row)


class SubscriptionRepository:
    """The collection ``subscriptions``: what billing last said, by tenant, because a tenant has one."""

    def __init__(self, mongo: Mongo) -> None:
        self._rows = mongo.db["subscriptions"]

    async def apply(self, state: SubscriptionState, tx: Transaction) -> None:
        """Take over a subscription's state unless this version or a later one is there."""
        await _keep(self._rows, {"_id": state.tenant_id, **asdict(subscription_part(state))}, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> SubscriptionPart | None:
        """Return what is known of a tenant's subscription."""
        row = await _find(self._rows, tenant_id, tx)
        return None if row is None else SubscriptionPart(**row)


async def _keep(rows: Any, row: Document, tx: Transaction) -> None:
    # Literal, because a name may begin with a dollar sign. One statement, because an insert that meets a
    # twin's would abort the transaction of the whole batch.
    newer = {"$lt": [{"$ifNull": ["$version", 0]}, row["version"]]}
    update = [{"$replaceWith": {"$cond": [newer, {"$literal": row}, "$$ROOT"]}}]
    await rows.update_one({"_id": row["_id"]}, update, upsert=True, session=tx)


async def _find(rows: Any, tenant_id: str, tx: Transaction) -> Document | None:
    row: Document | None = await rows.find_one({"_id": tenant_id}, {"_id": 0}, session=tx)
    return row
