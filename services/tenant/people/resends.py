"""A new credential for somebody who was invited and has not come yet."""

from __future__ import annotations

from services.tenant.authentik import Account
from services.tenant.people.access import Access
from services.tenant.people.events import about, resource_of
from services.tenant.people.invites import Invitation
from services.tenant.people.models import Human, NotInvited, Place
from services.tenant.people.onboarding import AccountNotUsable, Credential, Onboarding
from services.tenant.people.records import Records
from services.tenant.people.seats import Seats
from services.tenant.people.tasks.models import Task, TaskLost
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.user import UserInviteResent, UserReactivated
from shared.errors import NotFound, Unavailable
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction


class AuthentikNotConfigured(Unavailable):
    code, title = "authentik_not_configured", "This platform runs without an identity provider's API"


class _NotAnswered(Exception):
    """The request's key is new; aborts the transaction that only looked."""


class Resends:
    """The use case «resend». One at a time per person: a second password would void the one just shown."""

    def __init__(self, records: Records, access: Access, onboarding: Onboarding | None, seats: Seats) -> None:
        self._records = records
        self._access = access
        self._onboarding = onboarding
        self._seats = seats

    async def resend(self, caller: Person, person: str, claim: IdempotencyClaim) -> Invitation:
        """Make a new credential and return it; the time to come begins anew, also where it was over.

        Raises:
            NotFound, InsufficientRole, BelongsElsewhere: the person is not the caller's alone.
            NotInvited: they have come already, or the identity provider does not know them yet.
            SeatLimitReached: their invitation had ended, and their seat is taken.
            AccountNotUsable: the account is not of this platform's making. InviteInProgress: another one runs.
            AuthentikError: nothing was recorded; the same key may be used again.
        """
        human = await self._allowed(caller, person)
        if self._onboarding is None:
            raise AuthentikNotConfigured("set TENANT_AUTHENTIK_URL and TENANT_AUTHENTIK_TOKEN")
        await self._refuse_replay(claim)
        task = await self._hold(human)
        try:
            return await self._make(self._onboarding, caller, human, claim)
        finally:
            await self._let_go(task)

    async def _allowed(self, caller: Person, person: str) -> Human:
        human = await self._records.people.find_anywhere(person)
        if human is None:
            raise NotFound
        await self._access.require_all_of(caller, human)
        _require_awaited(human)
        return human

    async def _refuse_replay(self, claim: IdempotencyClaim) -> None:
        async def look(_: Transaction) -> None:
            raise _NotAnswered

        try:
            await self._records.transactions.run(look, claim)
        except _NotAnswered:
            return

    async def _hold(self, human: Human) -> Task:
        async def body(tx: Transaction) -> Task:
            if human.status == "expired":  # refused before the identity provider is touched
                await self._need_seats(human, tx)
            return await self._records.tasks.open(Task("resend", human.id), tx, held=True)

        return await self._records.transactions.run(body)

    async def _let_go(self, task: Task) -> None:
        async def body(tx: Transaction) -> None:
            await self._records.tasks.finish(task, tx)

        try:
            await self._records.transactions.run(body)
        except TaskLost:
            return

    async def _make(self, onboarding: Onboarding, caller: Person, human: Human, claim: IdempotencyClaim) -> Invitation:
        account = await onboarding.account_of(human)
        credential = await self._credential(onboarding, caller, human, account)

        async def body(tx: Transaction) -> Invitation:
            current = await self._records.people.find_anywhere(human.id, tx)
            if current is None:
                raise NotFound
            _require_awaited(current)
            after = await self._renew(caller, current, tx)
            place = after.places[0] if len(after.places) == 1 else None
            await self._records.outbox.add(tx, _resent(caller, after, credential, place))
            return Invitation(after.id, after.status, account.uid, credential)

        return await self._records.transactions.run(body, claim)

    async def _credential(self, onboarding: Onboarding, caller: Person, human: Human, account: Account) -> Credential:
        """Return a new credential. After an end it is made while the account is still disabled: whatever was handed
        out before is void by the time that the account can be used again."""
        ended = human.status == "expired"
        foreign = account.person is None and not caller.is_operator
        if ended and foreign and account.is_active:
            return Credential("existing")
        if not account.ordinary or foreign or not (account.is_active or ended):
            raise AccountNotUsable("they had the account before they were invited: its own recovery helps them")
        return await onboarding.credential(account)

    async def _renew(self, caller: Person, human: Human, tx: Transaction) -> Human:
        until = self._records.invited_until
        if human.status == "invited":
            await self._records.people.prolong(human, until, tx)
            return human
        await self._need_seats(human, tx)
        after, actor = human.renewed(until), actor_of(caller)
        await self._records.write(actor, human, after, tx)
        await self._records.outbox.add(tx, UserReactivated(**about(actor, human, after)))
        await self._records.tell_provider(after, "activity", tx)
        return after

    async def _need_seats(self, human: Human, tx: Transaction) -> None:
        await self._records.people.one_at_a_time(human.places, tx)
        for slug in sorted(human.tenants):
            await self._seats.require(slug, tx)


def _require_awaited(human: Human) -> None:
    if human.status not in {"invited", "expired"}:
        raise NotInvited(f"this person is {human.status}")


def _resent(caller: Person, human: Human, credential: Credential, place: Place | None) -> UserInviteResent:
    return UserInviteResent(actor=actor_of(caller), resource=resource_of(human, place), handoff=credential.handoff)
