"""What can be done with tenants: each use case writes the new state and its event in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from services.tenant.models import Tenant, changes_between, state_of
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.models import Conditions
from services.tenant.repository import PartnerProjection, PriceProjection, TenantFilter, TenantRepository
from services.tenant.scope import EVERYTHING, Scope
from shared.actors import actor_of
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.envelope import Actor, Resource
from shared.contracts.tenant import (
    BillingContact,
    Cycle,
    DomainState,
    OwnershipState,
    TenantCreated,
    TenantEvent,
    TenantReconcileRequested,
    TenantResumed,
    TenantSuspended,
    TenantUpdated,
)
from shared.errors import InsufficientRole, NotFound, StaleVersion
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page

COUNTS_SECONDS = 5.0


class TenantSuspendedForMembers(InsufficientRole):
    code, title = "tenant_suspended", "This tenant is suspended"


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What a partner says about a tenant to be; the partner itself comes from the caller."""

    slug: str
    name: str
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    domains: tuple[DomainState, ...]
    billing: BillingContact


@dataclass(frozen=True, slots=True)
class Seen:
    """A tenant, and how far the integrations agree with it."""

    tenant: Tenant
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Projections:
    """What this service knows of others' data."""

    partners: PartnerProjection
    prices: PriceProjection


class TenantService:
    """Use cases of tenants."""

    def __init__(
        self,
        tenants: TenantRepository,
        projections: Projections,
        intents: Intents,
        transactions: Transactions,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._partners = projections.partners
        self._prices = projections.prices
        self._intents = intents
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock
        self._counts: dict[Scope, tuple[float, dict[str, int]]] = {}

    async def create(self, caller: Person, new: NewTenant, claim: IdempotencyClaim) -> Seen:
        """Create a tenant of the caller's partner.

        Raises:
            SlugTaken, DomainTaken: both are unique for ever and across tenants.
            NoPriceForPlan: the catalog does not sell plan, cycle and currency.
            PartnerNotActive: the partner is unknown, suspended or being terminated.
        """
        if caller.partner is None:
            raise InsufficientRole("only people of a partner create tenants")
        partner = caller.partner.slug
        now = self._clock.now()
        tenant = Tenant(
            id=new_id(),
            slug=new.slug,
            name=new.name,
            plan=new.plan,
            cycle=new.cycle,
            currency=new.currency,
            seats=new.seats,
            partner=partner,
            status=self._intents.first_status,
            created_at=now,
            updated_at=now,
            domains=new.domains,
            billing=new.billing,
            ownership=(OwnershipState(partner=partner, since=now),),
        )

        async def body(tx: Transaction) -> Seen:
            await self._partners.require_active(partner, tx)
            await self._prices.require(new.plan, new.cycle, new.currency, tx)
            await self._tenants.insert(tenant, tx)
            await self._outbox.add(tx, TenantCreated(**about(actor_of(caller), None, tenant)))
            await self._intents.want(tenant, tx)
            return await self._seen(tenant, tx)

        return await self._transactions.run(body, claim)

    async def read(self, caller: Person, slug: str) -> Seen:
        """Return a tenant within the caller's scope.

        Raises:
            NotFound: it does not exist, or not for this caller.
            TenantSuspendedForMembers: the caller is a plain member of a suspended tenant.
        """
        tenant = await self._tenants.find(scope=Scope.of(caller), slug=slug)
        if tenant is None:
            raise NotFound
        if tenant.status == "suspended" and is_plain_member(caller, tenant):
            raise TenantSuspendedForMembers("ask an administrator of your organisation")
        return await self._seen(tenant)

    async def page(self, caller: Person, only: TenantFilter, limit: int, cursor: str | None) -> Page[Seen]:
        """Return a page of the tenants within the caller's scope, by slug."""
        page = await self._tenants.page(scope=Scope.of(caller), only=only, limit=limit, cursor=cursor)
        conditions = await self._intents.conditions(page.items)
        return Page([Seen(tenant, conditions[tenant.id]) for tenant in page.items], page.next)

    async def counts(self, caller: Person) -> dict[str, int]:
        """Return the number of tenants per status within the caller's scope, at most five seconds old."""
        scope = Scope.of(caller)
        now = time.monotonic()
        known = self._counts.get(scope)
        if known is None or now - known[0] > COUNTS_SECONDS:
            self._counts = {s: entry for s, entry in self._counts.items() if now - entry[0] <= COUNTS_SECONDS}
            known = (now, await self._tenants.count_by_status(scope=scope))
            self._counts[scope] = known
        return known[1]

    async def update(self, caller: Person, slug: str, changes: dict[str, object], expected: int | None) -> Seen:
        """Change some of name, plan, cycle, seats, domains and billing; the same values again are a no-op.

        Raises:
            InsufficientRole: a tenant's admin changes seats and billing only, a member nothing.
        """

        def transition(tenant: Tenant) -> Tenant:
            _allow_update(caller, tenant, changes)
            return tenant.update(self._clock.now(), **changes)

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantUpdated(**about(actor_of(caller), before, after))

        return await self._change(slug, expected, None, transition, event, Scope.of(caller))

    async def suspend(
        self, caller: Person, slug: str, reason: str, expected: int | None, claim: IdempotencyClaim
    ) -> Seen:
        """Suspend a tenant; suspending twice is a no-op."""

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantSuspended(**about(actor_of(caller), before, after), reason=reason)

        return await self._change(
            slug, expected, claim, lambda tenant: tenant.suspend(reason, self._clock.now()), event
        )

    async def resume(self, caller: Person, slug: str, expected: int | None, claim: IdempotencyClaim) -> Seen:
        """Resume a suspended tenant; resuming twice is a no-op."""

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantResumed(**about(actor_of(caller), before, after))

        return await self._change(slug, expected, claim, lambda tenant: tenant.resume(self._clock.now()), event)

    async def reconcile(self, caller: Person, slug: str, claim: IdempotencyClaim) -> Seen:
        """Ask for a comparison with every integration now, whatever failed before.

        Raises:
            NotFound
        """

        async def body(tx: Transaction) -> Seen:
            tenant = await self._tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
            if tenant is None:
                raise NotFound
            asked = TenantReconcileRequested(actor=actor_of(caller), resource=resource_of(tenant))
            await self._intents.want(tenant, tx)
            await self._outbox.add(tx, asked)
            return await self._seen(tenant, tx)

        return await self._transactions.run(body, claim)

    async def _seen(self, tenant: Tenant, tx: Transaction | None = None) -> Seen:
        return Seen(tenant, (await self._intents.conditions([tenant], tx))[tenant.id])

    async def _change(
        self,
        slug: str,
        expected: int | None,
        claim: IdempotencyClaim | None,
        transition: Callable[[Tenant], Tenant],
        event: Callable[[Tenant, Tenant], TenantEvent],
        scope: Scope = EVERYTHING,
    ) -> Seen:
        """Apply a pure transition to the current state; what changes nothing writes nothing."""

        async def body(tx: Transaction) -> Seen:
            before = await self._tenants.find(scope=scope, slug=slug, tx=tx)
            if before is None:
                raise NotFound
            if expected is not None and expected != before.version:
                raise StaleVersion(f"the tenant is at version {before.version}: read it again")
            after = transition(before)
            if after is not before:
                if (after.plan, after.cycle) != (before.plan, before.cycle):
                    await self._prices.require(after.plan, after.cycle, after.currency, tx)
                await self._tenants.save(before, after, tx)
                await self._outbox.add(tx, event(before, after))
                await self._intents.want(after, tx)
            return await self._seen(after, tx)

        return await self._transactions.run(body, claim)


ADMIN_MAY_CHANGE = frozenset({"seats", "billing"})


def _allow_update(caller: Person, tenant: Tenant, changes: dict[str, object]) -> None:
    if caller.is_operator or (caller.partner and caller.partner.slug == tenant.partner):
        return
    if caller.tenants.get(tenant.slug) != "admin":
        raise InsufficientRole("ask an administrator of your organisation")
    if not changes.keys() <= ADMIN_MAY_CHANGE:
        raise InsufficientRole("your partner changes name, domains, plan and cycle; you change seats and billing")


def is_plain_member(person: Person, tenant: Tenant) -> bool:
    """Tell whether the caller sees ``tenant`` only as one of its members."""
    if person.is_operator or (person.partner and person.partner.slug == tenant.partner):
        return False
    return person.tenants.get(tenant.slug) == "member"


def resource_of(tenant: Tenant) -> Resource:
    """Return the tenant as what something was done to."""
    return Resource(
        type="tenant",
        id=tenant.slug,
        name=tenant.name,
        tenant_slug=tenant.slug,
        partner_slug=tenant.partner,
    )


def about(actor: Actor, before: Tenant | None, after: Tenant) -> dict[str, object]:
    """Return the members that all events of a tenant's life share."""
    return {
        "actor": actor,
        "resource": resource_of(after),
        "version": after.version,
        "state": state_of(after),
        "changes": changes_between(before, after),
    }
