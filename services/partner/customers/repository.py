"""The projections of other services' data, in generations: a class for each kind of state.

A row is made of nothing but the newest state of its aggregate. Events come twice and out of order, so a version that is
not newer than the one kept is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from shared.projections.generations import Generations
from shared.projections.models import ProjectionSpec


def _customer(state: TenantState) -> Document:
    return {"_id": state.id, **asdict(tenant_part(state))}


def _usage(state: UsageState) -> Document:
    return {"_id": state.tenant_id, **asdict(usage_part(state))}


def _provisioning(state: ProvisioningState) -> Document:
    return {"_id": state.tenant_id, **asdict(provisioning_part(state))}


def _subscription(state: SubscriptionState) -> Document:
    return {"_id": state.tenant_id, **asdict(subscription_part(state))}


CUSTOMERS = ProjectionSpec(
    name="customers",
    owner="tenant",
    snapshot="tenants",
    consumer="partner-tenants",
    contract=TenantState,
    row=_customer,
    order_by="slug",
    # Both keys of the count, so that it reads the index and no document; and the order of the owner's snapshot.
    indexes=[Index([("partner", 1), ("status", 1)]), Index([("slug", 1)])],
)
USAGE = ProjectionSpec(
    name="usage",
    owner="tenant",
    snapshot="usage",
    consumer="partner-tenants",
    contract=UsageState,
    row=_usage,
)
PROVISIONING = ProjectionSpec(
    name="provisioning",
    owner="tenant",
    snapshot="provisioning",
    consumer="partner-tenants",
    contract=ProvisioningState,
    row=_provisioning,
)
SUBSCRIPTIONS = ProjectionSpec(
    name="subscriptions",
    owner="billing",
    snapshot="subscriptions",
    consumer="partner-subscriptions",
    contract=SubscriptionState,
    row=_subscription,
)


class CustomerRepository:
    """The projection ``customers``: tenants as the tenant service last said they are."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, CUSTOMERS)

    async def apply(self, state: TenantState, tx: Transaction) -> None:
        """Take over a tenant's state unless this version or a later one is there."""
        await self.generations.apply(state, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> TenantPart | None:
        """Return what is known of a tenant."""
        row = await _find(self.generations, tenant_id, tx)
        if row is None:
            return None
        return TenantPart(**{**row, "stays": tuple([Stay(**stay) for stay in row["stays"]])})

    async def count_by_partner(self, *, partners: Sequence[str], tx: Transaction | None = None) -> dict[str, int]:
        """Return how many customers each of ``partners`` has, those deleted not counted; one with none is absent."""
        pipeline: list[Document] = [
            {"$match": {"partner": {"$in": list(partners)}, "status": {"$ne": "deleted"}}},
            {"$group": {"_id": "$partner", "n": {"$sum": 1}}},
        ]
        customers = await self.generations.current(tx)
        return {row["_id"]: row["n"] async for row in await customers.aggregate(pipeline, session=tx)}


class UsageRepository:
    """The projection ``usage``: how much tenants are used."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, USAGE)

    async def apply(self, state: UsageState, tx: Transaction) -> None:
        """Take over a tenant's usage unless this version or a later one is there."""
        await self.generations.apply(state, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> UsagePart | None:
        """Return what is known of a tenant's usage."""
        row = await _find(self.generations, tenant_id, tx)
        return None if row is None else UsagePart(**row)


class ProvisioningRepository:
    """The projection ``provisioning``: since when integrations do not agree with tenants."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, PROVISIONING)

    async def apply(self, state: ProvisioningState, tx: Transaction) -> None:
        """Take over a tenant's conditions unless this version or a later one is there."""
        await self.generations.apply(state, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> ProvisioningPart | None:
        """Return what is known of a tenant's provisioning."""
        row = await _find(self.generations, tenant_id, tx)
        return None if row is None else ProvisioningPart(**row)


class SubscriptionRepository:
    """The projection ``subscriptions``: what billing last said, by tenant, because a tenant has one."""

    def __init__(self, mongo: Mongo) -> None:
        self.generations = Generations(mongo, SUBSCRIPTIONS)

    async def apply(self, state: SubscriptionState, tx: Transaction) -> None:
        """Take over a subscription's state unless this version or a later one is there."""
        await self.generations.apply(state, tx)

    async def find_across_partners(self, tenant_id: str, tx: Transaction) -> SubscriptionPart | None:
        """Return what is known of a tenant's subscription."""
        row = await _find(self.generations, tenant_id, tx)
        return None if row is None else SubscriptionPart(**row)


async def _find(generations: Generations[Any], tenant_id: str, tx: Transaction) -> Document | None:
    rows = await generations.current(tx)
    row: Document | None = await rows.find_one({"_id": tenant_id}, {"_id": 0}, session=tx)
    return row
