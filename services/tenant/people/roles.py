"""Roles and access: changing, removing, shutting out and letting in again.

What others rely on changes here at once, in one transaction with its event; the identity provider follows by a task of
the same transaction.
"""

from __future__ import annotations

from services.tenant.people.access import Access, Authority
from services.tenant.people.events import about
from services.tenant.people.models import BelongsElsewhere, Human, Place
from services.tenant.people.records import Records
from services.tenant.people.seats import Seats
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.user import UserDeactivated, UserReactivated, UserRoleChanged
from shared.errors import at_version
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction


class Roles:
    """Use cases on the roles of people."""

    def __init__(self, records: Records, access: Access, seats: Seats) -> None:
        self._records = records
        self._access = access
        self._seats = seats

    async def change(self, caller: Person, place: Place, person: str, role: str, expected: int | None) -> Human:
        """Give somebody of ``place`` another role there; the same role again is a no-op.

        Raises:
            NotFound: the person has no role there, or the place is not the caller's. InsufficientRole.
            LastOwner, LastAdmin. StaleVersion.
        """
        ground = await self._access.require(caller, place, Authority.CHANGE)

        async def body(tx: Transaction) -> Human:
            before = await self._somebody_of(place, person, expected, tx)
            after = before.with_role(place, role)
            if after is before:
                return before
            if role != place.crown:
                await self._keep_last(before, [place], tx)
            await self._records.write(actor_of(caller), before, after, tx)
            event = UserRoleChanged(**about(actor_of(caller), before, after, place, ground.partner))
            await self._records.outbox.add(tx, event)
            return after

        return await self._records.transactions.run(body)

    async def remove(self, caller: Person, place: Place, person: str, expected: int | None) -> None:
        """Take somebody's role at ``place``; an invitation that has not taken effect and held nothing else goes.

        Raises:
            NotFound: the person has no role there, or the place is not the caller's. InsufficientRole.
            LastOwner, LastAdmin. StaleVersion.
        """
        ground = await self._access.require(caller, place, Authority.CHANGE)
        actor = actor_of(caller)

        async def body(tx: Transaction) -> None:
            before = await self._somebody_of(place, person, expected, tx)
            await self._keep_last(before, [place], tx)
            after = before.with_role(place, None)
            if before.status == "inviting" and not after.places:
                await self._records.withdraw(before, actor, "role_removed", tx, place)
                return
            await self._records.write(actor, before, after, tx)
            await self._records.outbox.add(tx, UserRoleChanged(**about(actor, before, after, place, ground.partner)))
            if place.kind == "partner":
                await self._records.tell_provider(after, "groups", tx)

        await self._records.transactions.run(body)

    async def deactivate(
        self, caller: Person, place: Place, person: str, expected: int | None, claim: IdempotencyClaim
    ) -> Human:
        """Shut a person out on every surface; a second time is a no-op.

        On the word of the platform anybody, on that of a tenant only who has no role elsewhere.

        Raises:
            NotFound, InsufficientRole, StaleVersion, LastOperator, LastOwner, LastAdmin, BelongsElsewhere
        """
        ground = await self._access.require(caller, place, Authority.CHANGE)
        within = None if place.kind == "platform" else place

        async def body(tx: Transaction) -> Human:
            before = await self._somebody_of(within, person, expected, tx)
            if within is not None and before.places != (within,):
                raise BelongsElsewhere("remove their role here instead")
            after = before.deactivated()
            if after is before:
                return before
            await self._keep_last(before, before.places, tx)
            await self._records.write(actor_of(caller), before, after, tx)
            event = UserDeactivated(**about(actor_of(caller), before, after, within, ground.partner))
            await self._records.outbox.add(tx, event)
            await self._records.tell_provider(after, "activity", tx)
            return after

        return await self._records.transactions.run(body, claim)

    async def reactivate(self, caller: Person, person: str, expected: int | None, claim: IdempotencyClaim) -> Human:
        """Let a person in again; a second time is a no-op.

        Raises:
            NotFound, StaleVersion, PersonErased, InvitationExpired
            SeatLimitReached: their seat was taken meanwhile.
        """

        async def body(tx: Transaction) -> Human:
            before = await self._somebody_of(None, person, expected, tx)
            after = before.reactivated(self._records.clock.now(), self._records.invited_until)
            if after is before:
                return before
            await self._records.people.one_at_a_time(before.places, tx)
            for slug in sorted(after.seats):
                await self._seats.require(slug, tx)
            await self._records.write(actor_of(caller), before, after, tx)
            await self._records.outbox.add(tx, UserReactivated(**about(actor_of(caller), before, after)))
            await self._records.tell_provider(after, "activity", tx)
            return after

        return await self._records.transactions.run(body, claim)

    async def _somebody_of(self, place: Place | None, person: str, expected: int | None, tx: Transaction) -> Human:
        human = await self._records.people.find_anywhere(person, tx)
        elsewhere = human is not None and place is not None and human.role_at(place) is None
        return at_version(None if elsewhere else human, expected, "person", "them")

    async def _keep_last(self, human: Human, places: tuple[Place, ...] | list[Place], tx: Transaction) -> None:
        await self._records.people.one_at_a_time(places, tx)
        for place in places:
            await self._records.keep_last(human, place, tx)
