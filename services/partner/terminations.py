"""The end of a partner, in three steps: it is ``terminating``, the tenant service answers, it is over or goes on.

Nobody but the tenant service knows the customers of this very moment, so it decides; and it may be away. The request
waits some seconds for the answer and then says that it has not come. Whoever repeats it, under its key or without,
meets the same termination.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.partner.customers.repository import CustomerRepository
from services.partner.models import Overview, Partner, PartnerHasCustomers, TransferTargetNotActive
from services.partner.repository import Attempt, AttemptRepository, PartnerRepository
from services.partner.scope import EVERYTHING
from services.partner.service import about
from shared.actors import actor_of, system
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.partner import PartnerTerminated, PartnerTerminationRefused, PartnerTerminationStarted
from shared.errors import Invalid, NotFound, at_version
from shared.idempotency import IdempotencyClaim, Replay
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

LOOK_SECONDS = 0.05
ACTOR = system("partner")


@dataclass(frozen=True, slots=True)
class Books:
    """Where partners, their terminations and their customers are kept."""

    partners: PartnerRepository
    attempts: AttemptRepository
    customers: CustomerRepository


@dataclass(frozen=True, slots=True)
class Ending:
    """A partner after a request to terminate it. ``over`` is False while nobody has answered yet."""

    seen: Overview
    over: bool
    replayed: bool = False


class Terminations:
    """Use cases of a partner's end. ``patience`` is how many seconds a request waits for the outcome."""

    def __init__(self, books: Books, transactions: Transactions, outbox: Outbox, clock: Clock, patience: float) -> None:
        self._partners = books.partners
        self._attempts = books.attempts
        self._customers = books.customers
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock
        self._patience = patience

    async def terminate(
        self, caller: Person, slug: str, transfer_to: str | None, expected: int | None, claim: IdempotencyClaim
    ) -> Ending:
        """Begin to terminate a partner and wait a while for the outcome; what has begun is only waited for.

        ``claim`` must answer with the partner's version as ``etag``: a replay is answered with what has become of
        the termination that began with it.

        Raises:
            NotFound, StaleVersion
            PartnerHasCustomers: the tenant service counted some.
            Invalid: ``transfer_to`` is nobody, or the partner itself. TransferTargetNotActive: it takes no customers.
            WrongStatus: a termination with another target is going on.
        """

        async def body(tx: Transaction) -> Overview:
            before = at_version(await self._partners.find(scope=EVERYTHING, slug=slug, tx=tx), expected, "partner")
            after = before.terminate(transfer_to, self._clock.now())
            if after is not before:
                await self._require_target(before, transfer_to, tx)
                await self._partners.save(before, after, tx)
                await self._attempts.open(Attempt(slug, after.version), tx)
                begun = about(actor_of(caller), before, after)
                await self._outbox.add(tx, PartnerTerminationStarted.model_validate(begun))
            return Overview(after, 0)

        try:
            version, replayed = (await self._transactions.run(body, claim)).partner.version, False
        except Replay as earlier:
            version, replayed = int(earlier.answer.headers["etag"].strip('"')), True
        over = await self._outcome(slug, version)
        return Ending(await self._seen(slug), over, replayed)

    async def answered(self, slug: str, version: int, customers: int, tx: Transaction) -> None:
        """Finish the termination that began with ``version``; an answer to another one says nothing any more.

        The version stands still while a partner is being terminated, so it names the termination.
        """
        before = await self._partners.find(scope=EVERYTHING, slug=slug, tx=tx)
        if before is None or before.status != "terminating" or before.version != version:
            return
        after = before.end(customers, self._clock.now())
        await self._partners.save(before, after, tx)
        await self._attempts.close(Attempt(slug, version, customers), tx)
        ended = about(ACTOR, before, after)
        if customers:
            told = PartnerTerminationRefused.model_validate({**ended, "customers": customers})
            await self._outbox.add(tx, told)
        else:
            await self._outbox.add(tx, PartnerTerminated.model_validate(ended))

    async def _require_target(self, partner: Partner, transfer_to: str | None, tx: Transaction) -> None:
        if transfer_to is None:
            return
        if transfer_to == partner.slug:
            raise Invalid.field("transferTo", "same_partner", "name another partner than the one that ends")
        target = await self._partners.find(scope=EVERYTHING, slug=transfer_to, tx=tx)
        if target is None:
            raise Invalid.field("transferTo", "no_such_partner", f"there is no partner {transfer_to!r}")
        if target.status != "active":
            raise TransferTargetNotActive(f"the partner {transfer_to!r} is {target.status}: name an active one")

    async def _outcome(self, slug: str, version: int) -> bool:
        """Wait for the outcome; return False if there is none yet, and True where the partner had ended before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            attempt = await self._attempts.find(partner=slug, version=version)
            if attempt is None:
                return True
            if attempt.customers:
                raise PartnerHasCustomers(
                    f"it has {attempt.customers} customers: delete, detach or transfer them, or name a transferTo"
                )
            if attempt.customers == 0 or loop.time() >= until:
                return attempt.customers == 0
            await asyncio.sleep(LOOK_SECONDS)

    async def _seen(self, slug: str) -> Overview:
        partner = await self._partners.find(scope=EVERYTHING, slug=slug)
        if partner is None:
            raise NotFound
        counts = await self._customers.count_by_partner(partners=[slug])
        return Overview(partner, counts.get(slug, 0))
