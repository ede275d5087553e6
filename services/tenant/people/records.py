"""What every use case of people reads and writes with."""

from __future__ import annotations

from dataclasses import dataclass

from services.tenant.people.events import about
from services.tenant.people.models import LAST, MAY_ACT, Human, Place
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.tasks.models import Task, TaskKind
from services.tenant.people.tasks.repository import TaskRepository
from shared.clock import Clock
from shared.contracts.envelope import Actor
from shared.contracts.user import UserInviteWithdrawn
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Records:
    """People, what the identity provider still has to be told about them, and the means to write both at once."""

    people: PeopleRepository
    tasks: TaskRepository
    transactions: Transactions
    outbox: Outbox
    clock: Clock

    async def tell_provider(self, human: Human, kind: TaskKind, tx: Transaction) -> None:
        """Record that the account of ``human`` has to follow the record; nobody there, nothing to tell."""
        if human.identities:
            await self.tasks.open(Task(kind=kind, person=human.id), tx)

    async def keep_last(self, human: Human, place: Place, tx: Transaction) -> None:
        """Refuse to let go of the last one who can act as a place's operator, owner or admin.

        Raises:
            LastOperator, LastOwner, LastAdmin
        """
        if human.role_at(place) != place.crown or human.status not in MAY_ACT:
            return
        if await self.people.others_who_may_act(place, place.crown, human.id, tx) == 0:
            raise LAST[place.kind](f"make somebody else {place.crown} first")

    async def withdraw(self, human: Human, actor: Actor, reason: str, tx: Transaction, place: Place | None) -> None:
        """Remove the record of an invitation that did not take effect, and say why."""
        gone = human.changed(status="withdrawn", platform_admin=False, partner=None, tenants={})
        outcome = "success" if reason in {"role_removed", "merged"} else "failure"
        await self.people.remove(human, tx)
        await self.tasks.remove_invites(human.id, tx)
        event = UserInviteWithdrawn.model_validate(
            {**about(actor, human, gone, place), "outcome": outcome, "reason": reason}
        )
        await self.outbox.add(tx, event)
