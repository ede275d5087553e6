"""A partner's end, as the tenant service sees it: count, move what is to be moved, answer.

``partner.termination_started.v1`` is answered by ``tenant.partner_answered.v1`` exactly once, in a transaction that
also holds what the answer says:

- The consumer takes over that the partner is ``terminating`` and counts its tenants in one transaction. Whoever
  creates, attaches or transfers a tenant writes to the same row of the projection, under the condition that the
  partner is active; so of the two, one comes first, and the other sees it. A tenant is counted, or it is refused.
- With ``transfer_to`` the wish is recorded instead. A worker moves the tenants in batches, each a transaction bound to
  the target being active, and the batch that leaves none answers 0. It goes on where it was after any crash,
  because what is left to move is what the partner still owns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.tenant.models import PartnerNotActive, Tenant
from services.tenant.projections.repository import PartnerProjection
from services.tenant.provisioning.intents import Intents
from services.tenant.repository import PartnerMove, PartnerMoves, TenantRepository
from services.tenant.service import about
from shared.actors import system
from shared.clock import Clock
from shared.contracts.envelope import Resource
from shared.contracts.partner import PartnerState
from shared.contracts.tenant import TenantPartnerAnswered, TenantTransferred
from shared.leases import Lease
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

BATCH = 50
POLL_SECONDS = 0.25
ACTOR = system("tenant")


@dataclass(frozen=True, slots=True)
class PartnerBooks:
    """Where tenants, partners and unfinished moves are kept."""

    tenants: TenantRepository
    partners: PartnerProjection
    moves: PartnerMoves


class PartnerEnds:
    """Answers the partner service."""

    def __init__(
        self, books: PartnerBooks, intents: Intents, transactions: Transactions, outbox: Outbox, clock: Clock
    ) -> None:
        self._tenants = books.tenants
        self._partners = books.partners
        self._moves = books.moves
        self._intents = intents
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def begin(self, partner: PartnerState, tx: Transaction) -> None:
        """Answer, or begin to move; ``tx`` is the one in which the projection learns of ``partner``.

        A termination that is over is not answered: what is known of the partner is newer than it.
        """
        if not await self._partners.is_terminating(partner.slug, partner.version, tx):
            return
        customers = await self._tenants.count_owned(partner=partner.slug, tx=tx)
        target = partner.termination.transfer_to if partner.termination is not None else None
        if customers == 0 or target is None:
            await self._answer(partner.slug, partner.version, customers, tx)
        else:
            await self._moves.open(PartnerMove(partner.slug, partner.version, target), tx)

    async def move_some(self) -> bool:
        """Move one batch of some partner's tenants; return False when there is nothing to move.

        A target that takes no tenants any more ends the move: what has moved stays, and the answer names the rest.
        """
        move = await self._moves.first()
        if move is None:
            return False

        async def body(tx: Transaction) -> None:
            if await self._moves.still_open(move, tx):
                await self._take_batch(move, tx)

        await self._transactions.run(body)
        return True

    async def _take_batch(self, move: PartnerMove, tx: Transaction) -> None:
        tenants = await self._tenants.some_owned(partner=move.partner, limit=BATCH, tx=tx)
        try:
            if tenants:
                await self._partners.require_active(move.to, tx)
        except PartnerNotActive:
            await self._close(move, await self._tenants.count_owned(partner=move.partner, tx=tx), tx)
            return
        for tenant in tenants:
            await self._transfer(tenant, move.to, tx)
        if len(tenants) < BATCH:
            await self._close(move, 0, tx)

    async def _transfer(self, before: Tenant, to: str, tx: Transaction) -> None:
        after = before.transfer(to, self._clock.now())
        await self._tenants.save(before, after, tx)
        moved = {**about(ACTOR, before, after), "from_partner": before.partner, "to_partner": to}
        await self._outbox.add(tx, TenantTransferred.model_validate(moved))
        await self._intents.want(after, tx)

    async def _close(self, move: PartnerMove, customers: int, tx: Transaction) -> None:
        await self._moves.close(move, tx)
        await self._answer(move.partner, move.version, customers, tx)

    async def _answer(self, partner: str, version: int, customers: int, tx: Transaction) -> None:
        answer = TenantPartnerAnswered(
            actor=ACTOR,
            resource=Resource(type="partner", id=partner, partner_slug=partner),
            partner=partner,
            partner_version=version,
            customers=customers,
        )
        await self._outbox.add(tx, answer)


class Mover:
    """Moves tenants of partners that end, in one replica at a time."""

    def __init__(self, ends: PartnerEnds, lease: Lease) -> None:
        self._ends = ends
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._lease.hold()
                if not await self._ends.move_some():
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._lease.release()
