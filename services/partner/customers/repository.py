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
from shared.mongo import Document, Index, Transaction
from shared.projections.generations import Generations, Projection
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


class CustomerRepository(Projection[TenantState]):
    """The projection ``customers``: tenants as the tenant service last said they are."""

    spec = CUSTOMERS

    async def find_across_partners(self, tenant_ids: Sequence[str], tx: Transaction) -> dict[str, TenantPart]:
        """Return what is known of these tenants, by id."""
        return {
            key: TenantPart(**{**row, "stays": tuple([Stay(**stay) for stay in row["stays"]])})
            for key, row in (await _find(self.generations, tenant_ids, tx)).items()
        }

    async def count_by_partner(self, *, partners: Sequence[str], tx: Transaction | None = None) -> dict[str, int]:
        """Return how many customers each of ``partners`` has, those deleted not counted; one with none is absent."""
        pipeline: list[Document] = [
            {"$match": {"partner": {"$in": list(partners)}, "status": {"$ne": "deleted"}}},
            {"$group": {"_id": "$partner", "n": {"$sum": 1}}},
        ]
        customers = await self.generations.current(tx)
        return {row["_id"]: row["n"] async for row in await customers.aggregate(pipeline, session=tx)}


class UsageRepository(Projection[UsageState]):
    """The projection ``usage``: how much tenants are used."""

    spec = USAGE

    async def find_across_partners(self, tenant_ids: Sequence[str], tx: Transaction) -> dict[str, UsagePart]:
        """Return what is known of these tenants' usage, by tenant id."""
        return {key: UsagePart(**row) for key, row in (await _find(self.generations, tenant_ids, tx)).items()}


class ProvisioningRepository(Projection[ProvisioningState]):
    """The projection ``provisioning``: since when integrations do not agree with tenants."""

    spec = PROVISIONING

    async def find_across_partners(self, tenant_ids: Sequence[str], tx: Transaction) -> dict[str, ProvisioningPart]:
        """Return what is known of these tenants' provisioning, by tenant id."""
        return {key: ProvisioningPart(**row) for key, row in (await _find(self.generations, tenant_ids, tx)).items()}


class SubscriptionRepository(Projection[SubscriptionState]):
    """The projection ``subscriptions``: what billing last said, by tenant, because a tenant has one."""

    spec = SUBSCRIPTIONS

    async def find_across_partners(self, tenant_ids: Sequence[str], tx: Transaction) -> dict[str, SubscriptionPart]:
        """Return what is known of these tenants' subscription, by tenant id."""
        return {key: SubscriptionPart(**row) for key, row in (await _find(self.generations, tenant_ids, tx)).items()}


async def _find(generations: Generations[Any], tenant_ids: Sequence[str], tx: Transaction) -> dict[str, Document]:
    rows = (await generations.current(tx)).find({"_id": {"$in": list(tenant_ids)}}, session=tx)
    return {row.pop("_id"): row async for row in rows}
