"""What can be done with partners: each use case writes the new state and its event in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.partner.customers.repository import CustomerRepository
from services.partner.models import Overview, Partner, PartnerChange, changes_between, state_of
from services.partner.repository import PartnerFilter, PartnerRepository
from services.partner.scope import Scope
from shared.actors import actor_of
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.envelope import Actor, Resource
from shared.contracts.partner import (
    ContactState,
    ContractState,
    PartnerCreated,
    PartnerEvent,
    PartnerResumed,
    PartnerSuspended,
    PartnerUpdated,
)
from shared.errors import NotFound, at_version
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page


@dataclass(frozen=True, slots=True)
class NewPartner:
    """What an operator says about a partner to be."""

    slug: str
    name: str
    domain: str | None
    contact: ContactState
    contract: ContractState


class PartnerService:
    """Use cases of partners."""

    def __init__(
        self,
        partners: PartnerRepository,
        customers: CustomerRepository,
        transactions: Transactions,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._partners = partners
        self._customers = customers
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def create(self, caller: Person, new: NewPartner, claim: IdempotencyClaim) -> Overview:
        """Create an active partner.

        Raises:
            SlugTaken: slugs are unique for ever.
        """
        now = self._clock.now()
        partner = Partner(
            id=new_id(),
            slug=new.slug,
            name=new.name,
            contract=new.contract,
            status="active",
            created_at=now,
            updated_at=now,
            domain=new.domain,
            contact=new.contact,
        )

        async def body(tx: Transaction) -> Overview:
            await self._partners.insert(partner, tx)
            await self._outbox.add(tx, PartnerCreated.model_validate(about(actor_of(caller), None, partner)))
            return await self._seen(partner, tx)

        return await self._transactions.run(body, claim)

    async def read(self, caller: Person, slug: str) -> Overview:
        """Return a partner within the caller's scope.

        Raises:
            NotFound: it does not exist, or not for this caller.
        """
        partner = await self._partners.find(scope=Scope.of(caller), slug=slug)
        if partner is None:
            raise NotFound
        return await self._seen(partner)

    async def page(self, caller: Person, only: PartnerFilter, limit: int, cursor: str | None) -> Page[Overview]:
        """Return a page of the partners within the caller's scope, by slug."""
        page = await self._partners.page(scope=Scope.of(caller), only=only, limit=limit, cursor=cursor)
        counts = await self._customers.count_by_partner(partners=[partner.slug for partner in page.items])
        return Page([Overview(partner, counts.get(partner.slug, 0)) for partner in page.items], page.next)

    async def change(self, caller: Person, slug: str, wanted: PartnerChange, expected: int | None) -> Overview:
        """Change name, domain, contact or margins; what is already so writes nothing and tells nobody.

        Raises:
            NotFound: it does not exist. StaleVersion: it is not at version ``expected``.
            Invalid: a margin that the contract cannot take.
        """

        def event(before: Partner, after: Partner) -> PartnerEvent:
            return PartnerUpdated.model_validate(about(actor_of(caller), before, after))

        return await self._change(caller, slug, expected, lambda p: p.change(wanted, self._clock.now()), event)

    async def suspend(
        self, caller: Person, slug: str, reason: str, expected: int | None, claim: IdempotencyClaim
    ) -> Overview:
        """Let a partner take no new customers; its customers and its people notice nothing.

        Raises:
            NotFound, StaleVersion, WrongStatus
        """

        def event(before: Partner, after: Partner) -> PartnerEvent:
            return PartnerSuspended.model_validate({**about(actor_of(caller), before, after), "reason": reason})

        return await self._change(caller, slug, expected, lambda p: p.suspend(reason, self._clock.now()), event, claim)

    async def resume(self, caller: Person, slug: str, expected: int | None, claim: IdempotencyClaim) -> Overview:
        """Let a suspended partner take customers again.

        Raises:
            NotFound, StaleVersion, WrongStatus
        """

        def event(before: Partner, after: Partner) -> PartnerEvent:
            return PartnerResumed.model_validate(about(actor_of(caller), before, after))

        return await self._change(caller, slug, expected, lambda p: p.resume(self._clock.now()), event, claim)

    async def _change(
        self,
        caller: Person,
        slug: str,
        expected: int | None,
        transition: Callable[[Partner], Partner],
        event: Callable[[Partner, Partner], PartnerEvent],
        claim: IdempotencyClaim | None = None,
    ) -> Overview:
        async def body(tx: Transaction) -> Overview:
            found = await self._partners.find(scope=Scope.of(caller), slug=slug, tx=tx)
            before = at_version(found, expected, "partner")
            after = transition(before)
            if after is not before:
                await self._partners.save(before, after, tx)
                await self._outbox.add(tx, event(before, after))
            return await self._seen(after, tx)

        return await self._transactions.run(body, claim)

    async def snapshot(self, limit: int, cursor: str | None) -> Page[Partner]:
        """Return a page of all partners, by slug, for other services' projections.

        Pages are read one after the other, not at one moment: a reader goes by the version in each.
        """
        return await self._partners.page_across_partners(limit=limit, cursor=cursor)

    async def _seen(self, partner: Partner, tx: Transaction | None = None) -> Overview:
        counts = await self._customers.count_by_partner(partners=[partner.slug], tx=tx)
        return Overview(partner, counts.get(partner.slug, 0))


def about(actor: Actor, before: Partner | None, after: Partner) -> dict[str, object]:
    """Return the members that all events of a partner's life share."""
    return {
        "actor": actor,
        "resource": Resource(type="partner", id=after.slug, name=after.name, partner_slug=after.slug),
        "version": after.version,
        "state": state_of(after),
        "changes": changes_between(before, after),
    }
