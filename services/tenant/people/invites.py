"""Inviting: our record first, then the identity provider, then the result; whoever is killed in between is followed.

The credential exists in the answer to the request that waits for it, and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from services.tenant.authentik import Account, AuthentikError
from services.tenant.people.access import Access, Authority, Ground
from services.tenant.people.events import about
from services.tenant.people.models import AlreadyAMember, Human, InvitationExpired, PersonInactive, Place
from services.tenant.people.onboarding import Credential, IdentityConflict, Met, Onboarding, identity_of
from services.tenant.people.records import Records
from services.tenant.people.repository import InviteInProgress
from services.tenant.people.seats import Seats
from services.tenant.people.tasks.models import Task, TaskLost, pause
from services.tenant.projections.repository import PartnerProjection
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from shared.actors import actor_of, system
from shared.auth import Person
from shared.contracts.envelope import Actor
from shared.contracts.user import PersonStatus, UserInvited, UserInviteStarted, UserInviteWithdrawn
from shared.errors import Conflict
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Transaction

log = structlog.get_logger()

ANSWER_WITHIN = timedelta(seconds=6)
"""How long a caller waits for the identity provider before the answer is «pending»."""


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Whom to invite, and as what; no role leaves it to the place."""

    email: str
    name: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """How far an invitation is.

    Attributes:
        subject: the person's subject at the identity provider, once it is known.
        credential: None while the identity provider has not answered.
    """

    person: str
    status: PersonStatus
    subject: str | None = None
    credential: Credential | None = None


class Invites:
    """The use case «invite», and what a worker does to finish one."""

    def __init__(
        self,
        records: Records,
        access: Access,
        tenants: TenantRepository,
        partners: PartnerProjection,
        onboarding: Onboarding | None,
        seats: Seats,
    ) -> None:
        self._records = records
        self._access = access
        self._seats = seats
        self._tenants = tenants
        self._partners = partners
        self._onboarding = onboarding

    async def invite(self, caller: Person, place: Place, new: NewPerson, claim: IdempotencyClaim) -> Invitation:
        """Invite somebody to a place whose people the caller may change.

        Returns at once or within ``ANSWER_WITHIN``; an invitation without a credential is finished by the worker.

        Raises:
            NotFound, InsufficientRole: the caller may not.
            AlreadyAMember, InAnotherPartner, PersonInactive, InvitationExpired, SeatLimitReached, InviteInProgress,
            IdentityConflict, AccountNotUsable, PartnerNotActive, WrongStatus: nothing remains of the invitation.
        """
        ground = await self._access.require(caller, place, Authority.CHANGE)
        task = await self._begin(caller, ground, new, claim)
        pending = Invitation(task.person, "inviting")
        if self._onboarding is None:
            return pending
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                met, credential = await self._prepare(self._onboarding, task, somebody_waits=True)
            return await self._record(task, met, credential, claim)
        except (AuthentikError, TimeoutError) as error:
            reason = error.code if isinstance(error, AuthentikError) else "authentik_slow"
            log.warning("invite.pending", person=task.person, reason=reason)
            await self._records.tasks.postpone(task, reason, pause(1, random.random()))  # noqa: S311 - jitter
            return pending
        except TaskLost:
            return pending
        except Conflict as refusal:
            await self._give_up(task, refusal, claim)
            raise

    async def finish(self, task: Task) -> None:
        """Carry out an invitation that nobody waits for any more; its person gets a credential by resending.

        Raises:
            Conflict: the identity provider stands against it; somebody who was already known loses the offer.
        """
        if self._onboarding is None:
            raise AuthentikError
        try:
            met, credential = await self._prepare(self._onboarding, task, somebody_waits=False)
            await self._record(task, met, credential, None)
        except TaskLost:
            raise
        except Conflict as refusal:
            human = await self._records.people.find_anywhere(task.person)
            # Whoever waits to become somebody stays listed with the reason, until the cause is gone or they are.
            if human is None or human.status == "inviting":
                raise
            await self._give_up(task, refusal, None)

    # -- before

    async def _begin(self, caller: Person, ground: Ground, new: NewPerson, claim: IdempotencyClaim) -> Task:
        actor = actor_of(caller)
        opened: list[Task] = []  # the body may run more than once; the last run is the one that committed

        async def body(tx: Transaction) -> Invitation:
            await self._records.people.one_at_a_time([ground.place], tx)
            role = await self._check_place(ground, new, tx)
            human = await self._known(ground, new, tx)
            if human is None:
                human = replace(self._make(new).with_role(ground.place, role), version=1)
                await self._records.write(actor, None, human, tx)
                started = UserInviteStarted(**about(actor, None, human, ground.place, ground.partner))
                await self._records.outbox.add(tx, started)
            else:
                human.with_role(ground.place, role)  # refused here rather than after the identity provider acted
            task = Task("invite", human.id, ground.place, role, actor)
            opened.append(await self._records.tasks.open(task, tx, held=self._onboarding is not None))
            return Invitation(human.id, "inviting")

        await self._records.transactions.run(body, claim)
        return opened[-1]

    async def _check_place(self, ground: Ground, new: NewPerson, tx: Transaction) -> str:
        """Return the role that the person will have."""
        place = ground.place
        if place.kind == "platform":
            return "operator"
        if place.kind == "partner":
            await self._partners.require_active(place.slug, tx)
            first = await self._records.people.is_empty(place, tx)
            return "owner" if first else new.role or "staff"
        await self._seats.require_open(place.slug, tx)
        return new.role or "member"

    async def _known(self, ground: Ground, new: NewPerson, tx: Transaction) -> Human | None:
        known = await self._records.people.find_by_email_anywhere(new.email, tx)
        if not known:
            return None
        if len(known) > 1:
            raise IdentityConflict("several people here use this address: give them addresses of their own first")
        human = known[0]
        _check_admissible(human, ground.place)
        if human.status == "inviting":
            raise InviteInProgress("another invitation of this address comes first: try again later")
        return human

    def _make(self, new: NewPerson) -> Human:
        return Human(
            id=new_id(),
            email=new.email,
            name=new.name,
            identities=(),
            created_at=self._records.clock.now(),
            status="inviting",
        )

    # -- at the identity provider

    async def _prepare(self, onboarding: Onboarding, task: Task, *, somebody_waits: bool) -> tuple[Met, Credential]:
        human = await self._records.people.find_anywhere(task.person)
        if human is None or task.place is None:
            raise TaskLost("the invitation was withdrawn")
        if task.place.kind == "tenant":
            await self._seats.refuse_ending(task.place.slug)
        met = await onboarding.meet(human)
        if met.owner is not None:
            _check_role(met.owner, task)
        await onboarding.admit(met.account, task.place)
        if not met.ours:
            ended = met.owner is not None and met.owner.status == "expired" and met.account.person is not None
            return met, Credential("none" if ended else "existing")
        if not somebody_waits or human.status != "inviting":
            return met, Credential("none")
        return met, await onboarding.credential(met.account)

    # -- after

    async def _record(self, task: Task, met: Met, credential: Credential, claim: IdempotencyClaim | None) -> Invitation:
        async def body(tx: Transaction) -> Invitation:
            await self._records.tasks.finish(task, tx)
            human = await self._records.people.find_anywhere(task.person, tx)
            if human is None:
                raise TaskLost("the invitation was withdrawn")
            before, after = await self._outcome(human, task, met.account, tx)
            await self._records.write(_actor(task), before, after, tx)
            partner = await self._partner_of(task, tx)
            facts = about(_actor(task), before, after, task.place, partner)
            event = UserInvited.model_validate({**facts, "handoff": credential.handoff})
            await self._records.outbox.add(tx, event)
            # Shut out while the account was being made, or let in again after an invitation had ended.
            if after.active != before.active or after.status == "inactive":
                await self._records.tell_provider(after, "activity", tx)
            invitation = Invitation(after.id, after.status, met.account.uid, credential)
            if claim is not None:
                await claim.settle(tx, invitation)
            return invitation

        return await self._records.transactions.run(body)

    async def _outcome(self, human: Human, task: Task, account: Account, tx: Transaction) -> tuple[Human, Human]:
        """Return the person before and after: whoever was invited, or whoever the account turned out to be."""
        if task.place is None or task.role is None:
            raise TaskLost("this is no invitation")
        await self._records.people.one_at_a_time([task.place], tx)
        owner = await self._records.people.find_by_identity(identity_of(account), tx)
        if owner is None:
            if human.identities:
                raise IdentityConflict("the person's account is another one")
            return human, human.known_as(identity_of(account), account.pk, self._records.invited_until)
        if owner.id != human.id:
            await self._records.withdraw(human, _actor(task), "merged", tx, task.place)
        _check_role(owner, task)
        if task.place.kind == "tenant":
            await self._seats.require_open(task.place.slug, tx)
        admitted = owner.renewed(self._records.invited_until).with_role(task.place, task.role)
        return owner, replace(admitted, account=account.pk, version=owner.version + 1)

    async def _partner_of(self, task: Task, tx: Transaction) -> str | None:
        if task.place is None or task.place.kind != "tenant":
            return None
        tenant = await self._tenants.find(scope=EVERYTHING, slug=task.place.slug, tx=tx)
        return None if tenant is None else tenant.partner

    async def _give_up(self, task: Task, refusal: Conflict, claim: IdempotencyClaim | None) -> None:
        """Take back what ``_begin`` wrote, and let a replay of the request be refused alike."""

        async def body(tx: Transaction) -> None:
            await self._records.tasks.finish(task, tx)
            human = await self._records.people.find_anywhere(task.person, tx)
            if human is not None and human.status == "inviting":
                await self._records.withdraw(human, _actor(task), refusal.code, tx, task.place)
            elif human is not None:
                facts = about(_actor(task), human, human, task.place)
                event = UserInviteWithdrawn.model_validate({**facts, "outcome": "failure", "reason": refusal.code})
                await self._records.outbox.add(tx, event)
            if claim is not None:
                await claim.settle(tx, refusal)

        try:
            await self._records.transactions.run(body)
        except TaskLost:
            log.info("invite.taken_over", person=task.person)


def _actor(task: Task) -> Actor:
    return task.actor or system("people")


def _check_role(owner: Human, task: Task) -> None:
    if task.place is None:
        return
    _check_admissible(owner, task.place)
    owner.with_role(task.place, task.role)


def _check_admissible(human: Human, place: Place) -> None:
    """Refuse to give a role to somebody who has one there, or whom the inviter may not bring back."""
    if human.role_at(place) is not None:
        raise AlreadyAMember("change their role, or send their invitation again")
    if human.status == "inactive":
        raise PersonInactive("a platform operator can reactivate them")
    # Where they were invited their seat would be taken again, by somebody who has no say there.
    if human.status == "expired" and human.places:
        raise InvitationExpired("whoever invited them there sends that invitation again first")
