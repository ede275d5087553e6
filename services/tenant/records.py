"""What every use case of tenants reads and writes with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.tenant.models import Tenant
from services.tenant.people.repository import PeopleRepository
from services.tenant.projections.repository import PartnerProjection, PriceProjection
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.models import Conditions
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING, Scope
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.tenant import TenantEvent
from shared.errors import NotFound, at_version
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Seen:
    """A tenant, how far the integrations agree with it, and whether it has waited too long for a partner."""

    tenant: Tenant
    conditions: Conditions
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a tenant.

    Attributes:
        transition: pure; it may run more than once. Returning the tenant that it was given changes nothing.
        event: what is told of a change from the first to the second.
        check: refuses what the tenant alone cannot judge, by raising; not asked where nothing changes.
    """

    transition: Callable[[Tenant], Tenant]
    event: Callable[[Tenant, Tenant], TenantEvent]
    check: Callable[[Tenant, Tenant, Transaction], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """Tenants, what is known of others' data, and the means to write state and event at once."""

    tenants: TenantRepository
    partners: PartnerProjection
    prices: PriceProjection
    people: PeopleRepository
    intents: Intents
    transactions: Transactions
    outbox: Outbox
    clock: Clock

    async def seen(self, tenant: Tenant, tx: Transaction | None = None) -> Seen:
        """Return a tenant as its readers see it."""
        conditions = (await self.intents.conditions([tenant], tx))[tenant.id]
        return Seen(tenant, conditions, tenant.overdue(self.clock.now()))

    async def require_partner(self, caller: Person, slug: str) -> None:
        """Return if the partner exists for this caller: operators know all, a partner's people their own.

        Raises:
            NotFound
        """
        if caller.is_operator:
            known = await self.partners.find(slug) is not None
        else:
            known = caller.partner is not None and caller.partner.slug == slug
        if not known:
            raise NotFound

    async def change(
        self,
        slug: str,
        change: Change,
        expected: int | None,
        claim: IdempotencyClaim | None = None,
        scope: Scope = EVERYTHING,
    ) -> Seen:
        """Apply a change to the current state; what changes nothing writes nothing.

        Of two changes at once, one commits and the other is applied to its result: the transaction is repeated, for
        at most ``shared.mongo.TRANSACTION_SECONDS``. With ``expected`` the repetition finds another version instead.

        Raises:
            NotFound: there is no such tenant in ``scope``. StaleVersion: it is not at version ``expected``.
            one of DATABASE_UNAVAILABLE: too many others changed the tenant all that time.
        """

        async def body(tx: Transaction) -> Seen:
            before = at_version(await self.tenants.find(scope=scope, slug=slug, tx=tx), expected, "tenant")
            return await self.seen(await self.apply(before, change, tx), tx)

        return await self.transactions.run(body, claim)

    async def apply(self, before: Tenant, change: Change, tx: Transaction) -> Tenant:
        """Apply a change within a transaction in which ``before`` was read; return what the tenant is then."""
        after = change.transition(before)
        if after is not before:
            if change.check is not None:
                await change.check(before, after, tx)
            await self.tenants.save(before, after, tx)
            await self.outbox.add(tx, change.event(before, after))
            await self.intents.want(after, tx)
        return after
