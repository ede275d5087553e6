"""A new credential for somebody who was invited and has not come yet."""

from __future__ import annotations

from services.tenant.people.access import Access
from services.tenant.people.events import resource_of
from services.tenant.people.invites import Invitation
from services.tenant.people.models import Human, NotInvited, Place
from services.tenant.people.onboarding import AccountNotUsable, Credential, Onboarding
from services.tenant.people.records import Records
from services.tenant.people.tasks.models import Task, TaskLost
from shared.actors import actor_of
from shared.auth import Person
from shared.contracts.user import UserInviteResent
from shared.errors import NotFound, Unavailable
from shared.idempotency import IdempotencyClaim
from shared.mongo import Transaction


class AuthentikNotConfigured(Unavailable):
    code, title = "authentik_not_configured", "This platform runs without an identity provider's API"


class _NotAnswered(Exception):
    """The request's key is new; aborts the transaction that only looked."""


class Resends:
    """The use case «resend». One at a time per person: a second password would void the one just shown."""

    def __init__(self, records: Records, access: Access, onboarding: Onboarding | None) -> None:
        self._records = records
        self._access = access
        self._onboarding = onboarding

    async def resend(self, caller: Person, person: str, claim: IdempotencyClaim) -> Invitation:
        """Make a new credential and return it.

        Raises:
            NotFound, InsufficientRole, BelongsElsewhere: the person is not the caller's alone.
            NotInvited: they have come already, or the identity provider does not know them yet.
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
        if human.status != "invited":
            raise NotInvited(f"this person is {human.status}")
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
        if not account.ordinary or not account.is_active or (account.person is None and not caller.is_operator):
            raise AccountNotUsable("they had the account before they were invited: its own recovery helps them")
        credential = await onboarding.credential(account)
        invitation = Invitation(human.id, human.status, account.uid, credential)

        async def body(tx: Transaction) -> Invitation:
            place = human.places[0] if len(human.places) == 1 else None
            await self._records.outbox.add(tx, _resent(caller, human, credential, place))
            return invitation

        return await self._records.transactions.run(body, claim)


def _resent(caller: Person, human: Human, credential: Credential, place: Place | None) -> UserInviteResent:
    return UserInviteResent(actor=actor_of(caller), resource=resource_of(human, place), handoff=credential.handoff)
