"""The catalog: what a seat costs, and what a change would mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from services.billing.models import Price, price_changes, price_state
from services.billing.repository import PriceRepository, SubscriptionRepository
from shared.actors import actor_of
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.billing import Cycle, PriceArchived, PriceChanged, PriceCreated
from shared.contracts.envelope import Resource
from shared.errors import NotFound, at_version
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page


@dataclass(frozen=True, slots=True)
class Impact:
    """What a new amount would mean, in minor units of one currency: annual revenue before and after."""

    subscriptions: int
    tenants: int
    partners: int
    arr_before: int
    arr_after: int


class CatalogService:
    """Use cases of the catalog."""

    def __init__(
        self,
        prices: PriceRepository,
        subscriptions: SubscriptionRepository,
        transactions: Transactions,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._prices = prices
        self._subscriptions = subscriptions
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def create(
        self, caller: Person, plan: str, cycle: Cycle, amounts: dict[str, int], claim: IdempotencyClaim
    ) -> Price:
        """Give a plan and cycle a price.

        Raises:
            PriceExists: they have one that is not archived.
        """
        now = self._clock.now()
        price = Price(id=new_id(), plan=plan, cycle=cycle, amounts=amounts, created_at=now, updated_at=now)

        async def body(tx: Transaction) -> Price:
            await self._prices.insert(price, tx)
            await self._outbox.add(tx, PriceCreated(**_about(caller, None, price)))
            return price

        return await self._transactions.run(body, claim)

    async def read(self, price_id: str) -> Price:
        """Return a price.

        Raises:
            NotFound: there is none.
        """
        price = await self._prices.find_across_tenants(price_id)
        if price is None:
            raise NotFound
        return price

    async def page(self, limit: int, cursor: str | None) -> Page[Price]:
        """Return a page of the catalog, in the order of creation."""
        return await self._prices.page_across_tenants(limit, cursor)

    async def reprice(self, caller: Person, price_id: str, amounts: dict[str, int], expected: int | None) -> Price:
        """Change amounts. New subscriptions get them at once; the live ones follow within moments."""

        async def body(tx: Transaction, before: Price) -> Price:
            after = before.reprice(amounts, self._clock.now())
            if after is not before:
                await self._prices.save(before, after, tx)
                ids = await self._outbox.add(tx, PriceChanged(**_about(caller, before, after)))
                await self._prices.open_repricing(after, ids[0], tx)
            return after

        return await self._change(price_id, expected, body, None)

    async def archive(self, caller: Person, price_id: str, expected: int | None, claim: IdempotencyClaim) -> Price:
        """Take no new subscriptions on this price; the live ones keep their snapshot."""

        async def body(tx: Transaction, before: Price) -> Price:
            after = before.archive(self._clock.now())
            if after is not before:
                await self._prices.save(before, after, tx)
                await self._outbox.add(tx, PriceArchived(**_about(caller, before, after)))
            return after

        return await self._change(price_id, expected, body, claim)

    async def impact(self, price_id: str, currency: str, amount: int) -> Impact:
        """Say what a new amount would mean for the live subscriptions of a price."""
        price = await self.read(price_id)
        tenants: set[str] = set()
        partners: set[str] = set()
        before = after = 0
        async for subscription in self._subscriptions.on_row(price, currency):
            tenants.add(subscription.tenant_id)
            if subscription.partner is not None:
                partners.add(subscription.partner)
            before += subscription.arr
            after += replace(subscription, per_seat=amount).arr
        return Impact(len(tenants), len(tenants), len(partners), before, after)

    async def _change(
        self,
        price_id: str,
        expected: int | None,
        change: Callable[[Transaction, Price], Awaitable[Price]],
        claim: IdempotencyClaim | None,
    ) -> Price:
        async def body(tx: Transaction) -> Price:
            found = await self._prices.find_across_tenants(price_id, tx)
            return await change(tx, at_version(found, expected, "price"))

        return await self._transactions.run(body, claim)


def _about(caller: Person, before: Price | None, after: Price) -> dict[str, object]:
    return {
        "actor": actor_of(caller),
        "resource": Resource(type="price", id=after.id, name=f"{after.plan} per {after.cycle}"),
        "version": after.version,
        "state": price_state(after),
        "changes": price_changes(before, after),
    }
