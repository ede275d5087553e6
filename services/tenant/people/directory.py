"""The directory: from an identity that the gateway has verified to the person it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta

import structlog

from services.tenant.people.erasure.repository import RefusedIdentities
from services.tenant.people.events import about
from services.tenant.people.models import OPERATOR_GROUP, PLATFORM, Human, Identity, LastOperator
from services.tenant.people.records import Records
from services.tenant.people.repository import IdentityTaken
from shared.contracts.envelope import Actor
from shared.contracts.user import UserRegistered, UserUpdated
from shared.errors import StaleVersion
from shared.ids import new_id
from shared.mongo import Transaction

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
    """Finds a person by identity, and makes one at the first sign-in.

    For somebody known this is one indexed read, and no write unless the token says something new or it is time to
    remember that they were here.
    """

    def __init__(self, records: Records, refused: RefusedIdentities) -> None:
        self._records = records
        self._people = records.people
        self._refused = refused

    async def resolve(self, signed_in: SignedIn) -> Human:
        """Return the person, created or brought up to date with what the token says.

        Somebody who may not act is returned as they are: a refused token changes nothing.
        """
        human = await self._people.find_by_identity(signed_in.identity)
        if human is None:
            human = await self._erased(signed_in) or await self._register(signed_in)
        if not human.active:
            return human
        if self._as_seen(human, signed_in) is not human:
            human = await self._update(signed_in)
        await self._touch(human, signed_in)
        return human

    def _as_seen(self, human: Human, signed_in: SignedIn) -> Human:
        return human.seen_as(
            signed_in.email or human.email,
            signed_in.name or human.name,
            platform_admin=OPERATOR_GROUP in signed_in.groups,
        )

    async def _erased(self, signed_in: SignedIn) -> Human | None:
        """Return what is left of an operator who was erased so lately that their tokens still count."""
        person = await self._refused.find(signed_in.identity)
        return None if person is None else await self._people.find_anywhere(person)

    async def _register(self, signed_in: SignedIn) -> Human:
        human = Human(
            id=new_id(),
            email=signed_in.email,
            name=signed_in.name,
            identities=(signed_in.identity,),
            created_at=self._records.clock.now(),
            platform_admin=OPERATOR_GROUP in signed_in.groups,
        )
        actor = _acting(human, signed_in)

        async def body(tx: Transaction) -> Human:
            await self._records.write(actor, None, human, tx)
            await self._records.outbox.add(tx, UserRegistered(**about(actor, None, human)))
            return human

        try:
            return await self._records.transactions.run(body)
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
            after = await self._keeping_the_last(before, self._as_seen(before, signed_in), tx)
            if after is not before:
                actor = _acting(after, signed_in)
                await self._records.write(actor, before, after, tx)
                await self._records.outbox.add(tx, UserUpdated(**about(actor, before, after)))
            return after

        return await self._records.transactions.run(body)

    async def _keeping_the_last(self, before: Human, after: Human, tx: Transaction) -> Human:
        """Return ``after``, still an operator if nobody else is one.

        What a token may do is decided by the token. Our record only says who is left, and a token from before the
        group was given, or without groups, must not leave the platform without anybody.
        """
        if not before.platform_admin or after.platform_admin:
            return after
        await self._people.one_at_a_time([PLATFORM], tx)
        try:
            await self._records.keep_last(before, PLATFORM, tx)
        except LastOperator:
            log.warning("directory.last_operator_kept", person=before.id)
            return before.seen_as(after.email, after.name, platform_admin=True)
        return after

    async def _touch(self, human: Human, signed_in: SignedIn) -> None:
        now = self._records.clock.now()
        last = human.last_seen
        first_today = last is None or last.astimezone(UTC).date() < now.date()
        if not first_today and (last is None or now - last <= SEEN_EVERY):
            return
        if not (first_today and human.tenants and await self._records.usage.behind(human.tenants, now.date())):
            await self._people.touch(human, now)
            return

        async def body(tx: Transaction) -> None:
            await self._people.touch(human, now, tx)
            await self._records.usage.signed_in(_acting(human, signed_in), human.tenants, now.date(), tx)

        await self._records.transactions.run(body)


def _acting(human: Human, signed_in: SignedIn) -> Actor:
    """Return the person as an actor: what a sign-in changes, the person changes."""
    return Actor(type="user", id=human.id, email=human.email, ip=signed_in.client_ip, surface=signed_in.surface)
