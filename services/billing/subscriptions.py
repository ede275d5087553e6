"""Subscriptions follow their tenants and the catalog; each step of revenue is recorded with its cause."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from services.billing.models import Price, Subscription, movement, start, subscription_changes, subscription_state
from services.billing.repository import Movement, PriceRepository, SubscriptionRepository
from shared.actors import system
from shared.clock import Clock
from shared.contracts.billing import (
    SubscriptionCanceled,
    SubscriptionEvent,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionStarted,
    SubscriptionUpdated,
)
from shared.contracts.envelope import Resource
from shared.contracts.tenant import TenantState
from shared.errors import StaleVersion
from shared.ids import new_id
from shared.leases import Lease
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

log = structlog.get_logger()

POLL_SECONDS = 0.5
BATCH = 200


class SubscriptionService:
    """What happens to subscriptions."""

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

    async def follow(self, tenant: TenantState, caused_by: str, tx: Transaction) -> bool:
        """Make a tenant's subscription agree with a newer state of the tenant; False if this version was seen.

        A version that was seen is skipped. Where a version was missed its step is part of this one: revenue stays
        exact, only the cause of that part is the later event.
        """
        before = await self._subscriptions.find_by_tenant_id(tenant.id, tx)
        if before is not None and before.tenant_version >= tenant.version:
            return False
        per_seat: int | None = None
        if before is None or not before.keeps_snapshot(tenant):
            per_seat = await self._prices.take_amount(tenant.plan, tenant.cycle, tenant.currency, tx)
        now = self._clock.now()
        after = start(new_id(), tenant, per_seat, now) if before is None else before.follow(tenant, per_seat, now)
        await self._save(before, after, caused_by, tx)
        return True

    async def catch_up(self, tenant: TenantState) -> bool:
        """Follow a state of the owner's snapshot: what no event brought; False if nothing was missed.

        There is no event to name as the cause, so it is the state itself: ``tenants/acme@7``.
        """
        cause = f"tenants/{tenant.slug}@{tenant.version}"
        return await self._transactions.run(lambda tx: self.follow(tenant, cause, tx))

    async def refresh(self, tenant_id: str, price: Price, caused_by: str) -> None:
        """Let one live subscription take over a changed price; safe to repeat."""

        async def body(tx: Transaction) -> None:
            before = await self._subscriptions.find_by_tenant_id(tenant_id, tx)
            # The row may have changed again since; only what the catalog says now counts.
            current = await self._prices.find_across_tenants(price.id, tx)
            if before is None or current is None or not before.live:
                return
            amount = current.amounts.get(before.currency)
            on_row = (before.plan, before.cycle) == (current.plan, current.cycle)
            if amount is not None and on_row:
                await self._save(before, before.refresh(amount, self._clock.now()), caused_by, tx)

        await self._transactions.run(body)

    async def _save(self, before: Subscription | None, after: Subscription, caused_by: str, tx: Transaction) -> None:
        if after is before:
            return
        await self._subscriptions.save(before, after, tx)
        moved = movement(before, after)
        if moved is not None:
            delta = after.arr - (before.arr if before is not None else 0)
            step = Movement(after.tenant_id, after.partner, after.currency, moved, delta, caused_by, self._clock.now())
            await self._subscriptions.add_movement(step, tx)
        if before is None or after.version != before.version:
            event = _event_type(before, after)
            about = {
                "actor": system("billing"),
                "resource": Resource(
                    type="subscription",
                    id=after.id,
                    name=after.tenant_slug,
                    tenant_slug=after.tenant_slug,
                    partner_slug=after.partner,
                ),
                "version": after.version,
                "state": subscription_state(after),
                "changes": subscription_changes(before, after),
                "movement": moved,
                "caused_by": caused_by,
            }
            await self._outbox.add(tx, event.model_validate(about))


def _event_type(before: Subscription | None, after: Subscription) -> type[SubscriptionEvent]:
    if before is None or (after.live and not before.live):
        return SubscriptionStarted
    if before.live and not after.live:
        return SubscriptionCanceled
    # What changed beside the status is in the changes of the event, whatever it is called.
    only_status = replace(after, status=before.status, updated_at=before.updated_at, version=before.version)
    if after.status != before.status and only_status == replace(before, tenant_version=after.tenant_version):
        return SubscriptionPaused if after.status == "paused" else SubscriptionResumed
    return SubscriptionUpdated


class Repricer:
    """Lets live subscriptions follow a changed price: recorded intent, small steps, resumed after a crash."""

    def __init__(
        self,
        prices: PriceRepository,
        subscriptions: SubscriptionRepository,
        service: SubscriptionService,
        lease: Lease,
    ) -> None:
        self._prices = prices
        self._subscriptions = subscriptions
        self._service = service
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled, in one replica at a time."""
        try:
            while True:
                await self._lease.hold()
                for price, caused_by in await self._prices.open_repricings():
                    await self._follow(price, caused_by)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._lease.release()

    async def _follow(self, price: Price, caused_by: str) -> None:
        while tenants := await self._subscriptions.behind(price, BATCH):
            await self._lease.hold()
            for tenant_id in tenants:
                try:
                    await self._service.refresh(tenant_id, price, caused_by)
                except StaleVersion:
                    # Its tenant changed at the same moment; it is still behind and comes again.
                    log.info("repricing.retried", tenant=tenant_id)
            current = await self._prices.find_across_tenants(price.id)
            if current is None or current.version != price.version:
                return
        await self._prices.close_repricing(price)
