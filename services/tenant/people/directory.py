"""The directory: from an identity that the gateway has verified to the person it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.tenant.people.events import about
from services.tenant.people.models import OPERATOR_GROUP, Human, Identity
from services.tenant.people.repository import IdentityTaken, PeopleRepository
from shared.clock import Clock
from shared.contracts.envelope import Actor
from shared.contracts.user import UserRegistered, UserUpdated
from shared.errors import StaleVersion
from shared.ids import new_id
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

log = structlog.get_logger()

SEEN_EVERY = timedelta(hours=1)
"""How precisely «last seen» is kept; finer would write on every request."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a verified token says about its bearer, and from where it was used."""

    identity: Identity
    email: str
    name: str
    groups: tuple[str, ...]
    surface: str | None = None
    client_ip: str | None = None


class Directory:
    """Finds a person by identity, and makes one at the first sign-in."""

    def __init__(self, people: PeopleRepository, transactions: Transactions, outbox: Outbox, clock: Clock) -> None:
        self._people = people
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def resolve(self, signed_in: SignedIn) -> Human:
        """Return the person, created or brought up to date with what the token says."""
        human = await self._people.find_by_identity(signed_in.identity)
        if human is None:
            human = await self._register(signed_in)
        current = self._as_seen(human, signed_in)
        if current is not human:
            human = await self._update(signed_in)
        await self._touch(human)
        return human

    def _as_seen(self, human: Human, signed_in: SignedIn) -> Human:
        return human.seen_as(
            signed_in.email or human.email,
            signed_in.name or human.name,
            platform_admin=OPERATOR_GROUP in signed_in.groups,
        )

    async def _register(self, signed_in: SignedIn) -> Human:
        human = Human(
            id=new_id(),
            email=signed_in.email,
            name=signed_in.name,
            identities=(signed_in.identity,),
            created_at=self._clock.now(),
            platform_admin=OPERATOR_GROUP in signed_in.groups,
        )

        async def body(tx: Transaction) -> Human:
            await self._people.insert(human, tx)
            await self._outbox.add(tx, UserRegistered(**about(_acting(human, signed_in), None, human)))
            return human

        try:
            return await self._transactions.run(body)
        except IdentityTaken:  # a twin of this first request was faster
            found = await self._people.find_by_identity(signed_in.identity)
            if found is None:
                raise
            return found

    async def _update(self, signed_in: SignedIn) -> Human:
        async def body(tx: Transaction) -> Human:
            before = await self._people.find_by_identity(signed_in.identity, tx)
            if before is None:
                raise StaleVersion("the person was removed meanwhile")
            after = self._as_seen(before, signed_in)
            if after is not before:
                await self._people.save(before, after, tx)
                await self._outbox.add(tx, UserUpdated(**about(_acting(after, signed_in), before, after)))
            return after

        return await self._transactions.run(body)

    async def _touch(self, human: Human) -> None:
        now = self._clock.now()
        if human.last_seen is None or now - human.last_seen > SEEN_EVERY:
            await self._people.touch(human, now)


def _acting(human: Human, signed_in: SignedIn) -> Actor:
    """Return the person as an actor: what a sign-in changes, the person changes."""
    return Actor(type="user", id=human.id, email=human.email, ip=signed_in.client_ip, surface=signed_in.surface)
