"""What operators do about drift: look at what is accepted, accept a difference, and end that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.tenant.models import Tenant, WrongStatus
from services.tenant.provisioning.drift.models import (
    MOST_ACCEPTED,
    Acceptance,
    Difference,
    TooManyAcceptances,
    check_acceptable,
    check_expiry,
)
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.service import resource_of
from shared.actors import actor_of, system
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.envelope import Actor
from shared.contracts.tenant import (
    DriftState,
    Integration,
    TenantDriftAcceptanceEnded,
    TenantDriftAccepted,
)
from shared.errors import NotFound
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page

AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class NewAcceptance:
    """What an operator accepts."""

    integration: Integration
    difference: Difference
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SeenDrift:
    """What is otherwise and stays so: accepted differences, and those that are left to whoever made them."""

    acceptances: Page[Acceptance]
    left: tuple[DriftState, ...]


@dataclass(frozen=True, slots=True)
class DriftService:
    """Use cases; the tenant of each is named by an operator, whose scope is everything."""

    acceptances: AcceptanceRepository
    tenants: TenantRepository
    rows: ProvisioningRepository
    intents: Intents
    transactions: Transactions
    outbox: Outbox
    clock: Clock

    async def page(self, slug: str, limit: int, cursor: str | None) -> SeenDrift:
        """Return what is accepted of a tenant, the oldest first, and what is left.

        Raises:
            NotFound
        """
        tenant = await self._tenant(slug)
        page = await self.acceptances.page(tenant_id=tenant.id, limit=limit, cursor=cursor)
        return SeenDrift(page, await self.rows.left(tenant.id))

    async def accept(self, caller: Person, slug: str, new: NewAcceptance, claim: IdempotencyClaim) -> Acceptance:
        """Accept a difference: from the next comparison on it is listed instead of repaired.

        Raises:
            NotFound, UnknownDrift, DriftNotAcceptable, BadExpiry, AcceptedAlready, TooManyAcceptances
            WrongStatus: nothing of a tenant is accepted once its erasure has begun.
        """
        now = self.clock.now()
        check_acceptable(new.integration, new.difference.kind)
        check_expiry(new.expires_at, now)

        async def body(tx: Transaction) -> Acceptance:
            tenant = await self._tenant(slug, tx)
            if tenant.erasing or tenant.status == "deleted":
                raise WrongStatus("nothing of a tenant that is erased may stay")
            if await self.acceptances.count(tenant_id=tenant.id, tx=tx) >= MOST_ACCEPTED:
                raise TooManyAcceptances(f"a tenant has at most {MOST_ACCEPTED}: end one first")
            made = _made(new, tenant, caller, now)
            await self.acceptances.insert(made, tx)
            await self.outbox.add(tx, _accepted(caller, tenant, made))
            await self.intents.want(tenant, tx)
            return made

        return await self.transactions.run(body, claim)

    async def end(self, caller: Person, slug: str, acceptance: str) -> None:
        """End an acceptance: the difference is repaired at the next comparison, which is asked for.

        Raises:
            NotFound
        """

        async def body(tx: Transaction) -> None:
            tenant = await self._tenant(slug, tx)
            found = await self.acceptances.find(tenant_id=tenant.id, acceptance=acceptance, tx=tx)
            if found is None:
                raise NotFound
            await self._end(actor_of(caller), tenant, found, tx)

        await self.transactions.run(body)

    async def expire(self) -> int:
        """End the acceptances whose time is over, each in a transaction of its own; return how many there were."""
        expired = await self.acceptances.expired_across_tenants(self.clock.now(), AT_ONCE)
        for acceptance in expired:

            async def body(tx: Transaction, acceptance: Acceptance = acceptance) -> None:
                tenant = await self._tenant(acceptance.slug, tx)
                await self._end(system("provisioning"), tenant, acceptance, tx)

            await self.transactions.run(body)
        return len(expired)

    async def _end(self, actor: Actor, tenant: Tenant, acceptance: Acceptance, tx: Transaction) -> None:
        if await self.acceptances.remove(acceptance, tx):
            resource = resource_of(tenant)
            event = TenantDriftAcceptanceEnded(actor=actor, resource=resource, drift=acceptance.drift)
            await self.outbox.add(tx, event)
            await self.intents.want(tenant, tx)

    async def _tenant(self, slug: str, tx: Transaction | None = None) -> Tenant:
        tenant = await self.tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
        if tenant is None:
            raise NotFound
        return tenant


def _made(new: NewAcceptance, tenant: Tenant, caller: Person, at: datetime) -> Acceptance:
    return Acceptance(
        id=new_id(),
        tenant_id=tenant.id,
        slug=tenant.slug,
        integration=new.integration,
        difference=new.difference,
        reason=new.reason,
        by=caller.id,
        created_at=at,
        expires_at=new.expires_at,
    )


def _accepted(caller: Person, tenant: Tenant, made: Acceptance) -> TenantDriftAccepted:
    return TenantDriftAccepted(
        actor=actor_of(caller),
        resource=resource_of(tenant),
        drift=made.drift,
        reason=made.reason,
        expires_at=made.expires_at,
    )
