"""What can be done with tenants: each use case writes the new state and its event in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from services.tenant.models import SeatsInUse, Tenant, changes_between, state_of
from services.tenant.people.models import Place
from services.tenant.records import Change, Records, Seen
from services.tenant.repository import TenantFilter
from services.tenant.scope import EVERYTHING, Scope
from shared.actors import actor_of
from shared.auth import Person
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
from shared.errors import InsufficientRole, NotFound
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction
from shared.paging import Page
from shared.recent import Recent

COUNTS_SECONDS = 5.0


class TenantSuspendedForMembers(InsufficientRole):
    code, title = "tenant_suspended", "This tenant is suspended"


class TenantDeletedForMembers(InsufficientRole):
    code, title = "tenant_deleted", "This tenant is deleted"


SHUT_TO_MEMBERS = {
    "suspended": TenantSuspendedForMembers,
    "deleting": TenantDeletedForMembers,
    "deleted": TenantDeletedForMembers,
}


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


class TenantService:
    """Use cases of tenants."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._counts: Recent[Scope, dict[str, int]] = Recent(
            COUNTS_SECONDS, lambda scope: records.tenants.count_by_status(scope=scope)
        )

    async def create(self, caller: Person, new: NewTenant, claim: IdempotencyClaim) -> Seen:
        """Create a tenant of the caller's partner.

        Raises:
            SlugTaken, DomainTaken: both are unique for ever and across tenants. SlugTooSimilar: it looks like another.
            NoPriceForPlan: the catalog does not sell plan, cycle and currency.
            PartnerNotActive: the partner is unknown, suspended or being terminated.
        """
        if caller.partner is None:
            raise InsufficientRole("only people of a partner create tenants")
        records, partner = self._records, caller.partner.slug
        now = records.clock.now()
        tenant = Tenant(
            id=new_id(),
            slug=new.slug,
            name=new.name,
            plan=new.plan,
            cycle=new.cycle,
            currency=new.currency,
            seats=new.seats,
            partner=partner,
            status=records.intents.first_status,
            created_at=now,
            updated_at=now,
            domains=new.domains,
            billing=new.billing,
            ownership=(OwnershipState(partner=partner, since=now),),
        )

        async def body(tx: Transaction) -> Seen:
            await records.partners.require_active(partner, tx)
            await records.prices.require(new.plan, new.cycle, new.currency, tx)
            await records.tenants.insert(tenant, tx)
            await records.outbox.add(tx, TenantCreated(**about(actor_of(caller), None, tenant)))
            await records.intents.want(tenant, tx)
            return await records.seen(tenant, tx)

        return await records.transactions.run(body, claim)

    async def read(self, caller: Person, slug: str) -> Seen:
        """Return a tenant within the caller's scope.

        Raises:
            NotFound: it does not exist, or not for this caller.
            TenantSuspendedForMembers, TenantDeletedForMembers: the caller is a plain member, and it is shut.
        """
        tenant = await self._records.tenants.find(scope=Scope.of(caller), slug=slug)
        if tenant is None:
            raise NotFound
        if tenant.status in SHUT_TO_MEMBERS and is_plain_member(caller, tenant):
            raise SHUT_TO_MEMBERS[tenant.status]("ask an administrator of your organisation")
        return await self._records.seen(tenant)

    async def page(self, scope: Scope, only: TenantFilter, limit: int, cursor: str | None) -> Page[Seen]:
        """Return a page of the tenants within ``scope``, by slug."""
        page = await self._records.tenants.page(scope=scope, only=only, limit=limit, cursor=cursor)
        conditions = await self._records.intents.conditions(page.items)
        now = self._records.clock.now()
        return Page([Seen(tenant, conditions[tenant.id], tenant.overdue(now)) for tenant in page.items], page.next)

    async def scope_of_partner(self, caller: Person, partner: str) -> Scope:
        """Return the customers of a partner as a scope.

        Raises:
            NotFound: the partner does not exist, or not for this caller.
        """
        await self._records.require_partner(caller, partner)
        return Scope(partner=partner)

    async def counts(self, scope: Scope) -> dict[str, int]:
        """Return the number of tenants per status within ``scope``, at most five seconds old."""
        return await self._counts.get(scope)

    async def update(self, caller: Person, slug: str, changes: dict[str, object], expected: int | None) -> Seen:
        """Change some of name, plan, cycle, seats, domains and billing; the same values again are a no-op.

        Raises:
            InsufficientRole: a tenant's admin changes seats and billing only, a member nothing.
            SeatsInUse, NoPriceForPlan, DomainTaken, WrongStatus
        """

        def transition(tenant: Tenant) -> Tenant:
            _allow_update(caller, tenant, changes)
            return tenant.update(self._records.clock.now(), **changes)

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantUpdated(**about(actor_of(caller), before, after))

        return await self._records.change(
            slug, Change(transition, event, self._check_update), expected, scope=Scope.of(caller)
        )

    async def _check_update(self, before: Tenant, after: Tenant, tx: Transaction) -> None:
        if (after.plan, after.cycle) != (before.plan, before.cycle):
            await self._records.prices.require(after.plan, after.cycle, after.currency, tx)
        if after.seats < before.seats:
            # Whoever takes a seat binds their transaction to the same place: one of the two repeats.
            await self._records.people.one_at_a_time([Place("tenant", after.slug)], tx)
            taken = await self._records.people.seats_taken(after.slug, tx)
            if after.seats < taken:
                raise SeatsInUse(f"{taken} seats are taken: deactivate somebody first, or keep at least {taken}")

    async def suspend(
        self, caller: Person, slug: str, reason: str, expected: int | None, claim: IdempotencyClaim
    ) -> Seen:
        """Suspend a tenant; suspending twice is a no-op."""

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantSuspended(**about(actor_of(caller), before, after), reason=reason)

        change = Change(lambda tenant: tenant.suspend(reason, self._records.clock.now()), event)
        return await self._records.change(slug, change, expected, claim)

    async def resume(self, caller: Person, slug: str, expected: int | None, claim: IdempotencyClaim) -> Seen:
        """Resume a suspended tenant; resuming twice is a no-op."""

        def event(before: Tenant, after: Tenant) -> TenantEvent:
            return TenantResumed(**about(actor_of(caller), before, after))

        change = Change(lambda tenant: tenant.resume(self._records.clock.now()), event)
        return await self._records.change(slug, change, expected, claim)

    async def reconcile(self, caller: Person, slug: str, claim: IdempotencyClaim) -> Seen:
        """Ask for a comparison with every integration now, whatever failed before.

        Raises:
            NotFound. WrongStatus: it is deleted.
        """
        records = self._records

        async def body(tx: Transaction) -> Seen:
            tenant = await records.tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
            if tenant is None:
                raise NotFound
            tenant.require_existing()
            asked = TenantReconcileRequested(actor=actor_of(caller), resource=resource_of(tenant))
            await records.intents.want(tenant, tx)
            await records.outbox.add(tx, asked)
            return await records.seen(tenant, tx)

        return await records.transactions.run(body, claim)


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
