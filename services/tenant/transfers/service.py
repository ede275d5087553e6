"""Asking for a tenant, and answering: the target partner opens, the tenant's admin or an operator decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.tenant.models import Tenant, WrongStatus
from services.tenant.records import Change, Records
from services.tenant.scope import Scope
from services.tenant.service import about
from services.tenant.transfers.models import (
    MAX_OPEN,
    OwnTenant,
    TooManyTransfers,
    Transfer,
    changes_between,
    state_of,
)
from services.tenant.transfers.repository import Side, TransferRepository
from shared.actors import actor_of, system
from shared.auth import Person
from shared.contracts.envelope import Actor, Resource
from shared.contracts.tenant import (
    TenantTransferClosed,
    TenantTransferOpened,
    TenantTransferred,
    TransferStatus,
)
from shared.errors import InsufficientRole, NotFound, at_version
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction
from shared.paging import Page

ACTOR = system("transfers")
EXPIRED_AT_ONCE = 100


class Transfers:
    """``lifetime`` is how long a request waits for an answer."""

    def __init__(self, records: Records, transfers: TransferRepository, lifetime: timedelta) -> None:
        self._records = records
        self._transfers = transfers
        self._lifetime = lifetime

    # -- the target partner's side

    async def open(self, caller: Person, partner: str, tenant: str, claim: IdempotencyClaim) -> Transfer:
        """Ask for a tenant that the partner cannot see: the answer does not tell whether there is one.

        Raises:
            NotFound: the partner is not the caller's. PartnerNotActive. OwnTenant: it is a customer already.
            TransferAlreadyOpen, TooManyTransfers
        """
        await self._records.require_partner(caller, partner)
        now = self._records.clock.now()
        transfer = Transfer(new_id(), tenant, partner, opened_at=now, expires_at=now + self._lifetime)

        async def body(tx: Transaction) -> Transfer:
            # Of two transactions that count this partner's requests, one repeats: both write the partner.
            await self._records.partners.require_active(partner, tx)
            if await self._records.tenants.is_customer(partner=partner, slug=tenant, tx=tx):
                raise OwnTenant("ask for a tenant of another partner")
            waiting = await self._close_overdue(partner, tx)
            if waiting >= MAX_OPEN:
                raise TooManyTransfers(f"{waiting} wait for an answer: withdraw some first")
            await self._transfers.insert(transfer, tx)
            opened = TenantTransferOpened(**_about(actor_of(caller), None, transfer))
            await self._records.outbox.add(tx, opened)
            return transfer

        return await self._records.transactions.run(body, claim)

    async def page_of_partner(
        self, caller: Person, partner: str, status: TransferStatus | None, limit: int, cursor: str | None
    ) -> Page[Transfer]:
        """Return a page of what a partner has asked for, in that order.

        Raises:
            NotFound
        """
        await self._records.require_partner(caller, partner)
        return await self._page(Side("to_partner", partner), status, limit, cursor)

    async def withdraw(self, caller: Person, partner: str, transfer: str, expected: int | None) -> Transfer:
        """Take a request back; a second time is a no-op.

        Raises:
            NotFound, StaleVersion. TransferClosed: it was answered, or its time is over.
        """
        await self._records.require_partner(caller, partner)

        async def body(tx: Transaction) -> Transfer:
            before = await self._find(Side("to_partner", partner), transfer, expected, tx)
            return await self._close(before, "withdrawn", actor_of(caller), tx)

        return await self._records.transactions.run(body)

    # -- the tenant's side

    async def page_of_tenant(
        self, caller: Person, slug: str, status: TransferStatus | None, limit: int, cursor: str | None
    ) -> Page[Transfer]:
        """Return a page of who has asked for a tenant; its present partner is not told.

        Raises:
            NotFound, InsufficientRole
        """
        await self._require_decider(caller, slug)
        return await self._page(Side("tenant", slug), status, limit, cursor)

    async def accept(
        self, caller: Person, slug: str, transfer: str, expected: int | None, claim: IdempotencyClaim
    ) -> Transfer:
        """Let the tenant pass to the partner that asked; all others that asked are refused. Twice is a no-op.

        Raises:
            NotFound, InsufficientRole, StaleVersion. TransferClosed: it was answered otherwise, or its time is over.
            PartnerNotActive: the partner takes no tenants now. NoPartner: the tenant waits for an operator.
            WrongStatus: the tenant is being deleted.
        """

        async def body(tx: Transaction) -> Transfer:
            tenant = await self._require_decider(caller, slug, tx)
            before = await self._find(Side("tenant", slug), transfer, expected, tx)
            after = await self._close(before, "accepted", actor_of(caller), tx)
            if after is before:
                return after
            if tenant.status in {"deleting", "deleted"}:
                raise WrongStatus(f"a tenant that is {tenant.status} passes to nobody")
            await self._records.apply(tenant, self._passing(caller, after), tx)
            for other in await self._transfers.open_on(side=Side("tenant", slug), tx=tx):
                late = other.overdue(self._records.clock.now())
                await self._close(other, "expired" if late else "refused", actor_of(caller), tx)
            return after

        return await self._records.transactions.run(body, claim)

    async def refuse(
        self, caller: Person, slug: str, transfer: str, expected: int | None, claim: IdempotencyClaim
    ) -> Transfer:
        """Say no; a second time is a no-op.

        Raises:
            NotFound, InsufficientRole, StaleVersion. TransferClosed: it was answered otherwise, or its time is over.
        """

        async def body(tx: Transaction) -> Transfer:
            await self._require_decider(caller, slug, tx)
            before = await self._find(Side("tenant", slug), transfer, expected, tx)
            return await self._close(before, "refused", actor_of(caller), tx)

        return await self._records.transactions.run(body, claim)

    # -- the platform's side

    async def expire(self) -> int:
        """Close requests whose time is over; return how many there were, at most ``EXPIRED_AT_ONCE``."""
        overdue = await self._transfers.overdue_of_all(self._records.clock.now(), EXPIRED_AT_ONCE)
        for transfer in overdue:
            await self._expire(transfer)
        return len(overdue)

    async def _expire(self, seen: Transfer) -> None:
        async def body(tx: Transaction) -> None:
            known = await self._transfers.find(side=Side("tenant", seen.tenant), transfer=seen.id, tx=tx)
            if known is not None and known.overdue(self._records.clock.now()):
                await self._close(known, "expired", ACTOR, tx)

        await self._records.transactions.run(body)

    # -- parts

    async def _require_decider(self, caller: Person, slug: str, tx: Transaction | None = None) -> Tenant:
        tenant = await self._records.tenants.find(scope=Scope.of(caller), slug=slug, tx=tx)
        if tenant is None:
            raise NotFound
        if not caller.is_operator and caller.tenants.get(slug) != "admin":
            raise InsufficientRole("an admin of the tenant decides, or an operator")
        return tenant

    def _passing(self, caller: Person, transfer: Transfer) -> Change:
        async def check(_: Tenant, __: Tenant, tx: Transaction) -> None:
            await self._records.partners.require_active(transfer.to_partner, tx)

        def event(before: Tenant, after: Tenant) -> TenantTransferred:
            facts = about(actor_of(caller), before, after)
            return TenantTransferred(
                **facts, from_partner=before.partner, to_partner=transfer.to_partner, transfer=transfer.id
            )

        return Change(lambda tenant: tenant.transfer(transfer.to_partner, self._records.clock.now()), event, check)

    async def _page(self, side: Side, status: TransferStatus | None, limit: int, cursor: str | None) -> Page[Transfer]:
        page = await self._transfers.page(side=side, status=status, limit=limit, cursor=cursor)
        now = self._records.clock.now()
        return replace(page, items=[transfer.seen_at(now) for transfer in page.items])

    async def _find(self, side: Side, transfer: str, expected: int | None, tx: Transaction) -> Transfer:
        return at_version(await self._transfers.find(side=side, transfer=transfer, tx=tx), expected, "request")

    async def _close_overdue(self, partner: str, tx: Transaction) -> int:
        """Close what the worker has not closed yet of a partner's; return how many wait for an answer."""
        now = self._records.clock.now()
        waiting = await self._transfers.open_on(side=Side("to_partner", partner), tx=tx)
        overdue = [transfer for transfer in waiting if transfer.overdue(now)]
        for transfer in overdue:
            await self._close(transfer, "expired", ACTOR, tx)
        return len(waiting) - len(overdue)

    async def _close(self, before: Transfer, status: TransferStatus, actor: Actor, tx: Transaction) -> Transfer:
        after = before.close(status, self._records.clock.now())
        if after is not before:
            await self._transfers.save(before, after, tx)
            await self._records.outbox.add(tx, TenantTransferClosed(**_about(actor, before, after)))
        return after


def _about(actor: Actor, before: Transfer | None, after: Transfer) -> dict[str, object]:
    """The resource is in the target partner's scope alone: no other reader learns who asked for what."""
    resource = Resource(type="transfer", id=after.id, name=after.tenant, partner_slug=after.to_partner)
    return {
        "actor": actor,
        "resource": resource,
        "version": after.version,
        "state": state_of(after),
        "changes": changes_between(before, after),
    }
