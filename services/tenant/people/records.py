"""What every use case of people reads and writes with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.tenant.people.events import about
from services.tenant.people.models import LAST, MAY_ACT, Human, Place
from services.tenant.people.repository import PeopleRepository
from services.tenant.people.tasks.models import Task, TaskKind
from services.tenant.people.tasks.repository import TaskRepository
from services.tenant.usage.book import UsageBook
from shared.clock import Clock
from shared.contracts.envelope import Actor
from shared.contracts.user import PersonStatus, UserInviteWithdrawn
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
    usage: UsageBook
    invite_lasts: timedelta

    @property
    def invited_until(self) -> datetime:
        """When an invitation of this moment ends."""
        return self.clock.now() + self.invite_lasts

    async def write(self, actor: Actor, before: Human | None, after: Human | None, tx: Transaction) -> None:
        """Store, replace or remove a person, and with it the usage of the tenants in which that takes or frees a seat.

        Raises:
            StaleVersion, IdentityTaken, InviteInProgress
        """
        if before is None and after is not None:
            await self.people.insert(after, tx)
        elif before is not None and after is not None:
            await self.people.save(before, after, tx)
        elif before is not None:
            await self.people.remove(before, tx)
        await self.usage.follow(actor, before, after, tx)

    async def tell_provider(self, human: Human, kind: TaskKind, tx: Transaction) -> None:
        """Record that the account of ``human`` has to follow the record; nobody there, nothing to tell."""
        if human.identities:
            await self.tasks.open(Task(kind=kind, person=human.id), tx)

    async def keep_last(self, human: Human, place: Place, tx: Transaction) -> None:
        """Refuse to let go of the last one who can act as a place's operator, owner or admin.

        Whoever has come is only let go while another one has come, too: an invitation may end without anybody coming.

        Raises:
            LastOperator, LastOwner, LastAdmin
        """
        if human.role_at(place) != place.crown or human.status not in MAY_ACT:
            return
        remaining: tuple[PersonStatus, ...] = ("active",) if human.status == "active" else MAY_ACT
        if await self.people.others_with(place, place.crown, remaining, human.id, tx) == 0:
            raise LAST[place.kind](f"make somebody else {place.crown} first")

    async def withdraw(self, human: Human, actor: Actor, reason: str, tx: Transaction, place: Place | None) -> None:
        """Remove the record of an invitation that did not take effect, and say why."""
        gone = human.changed(status="withdrawn", platform_admin=False, partner=None, tenants={})
        outcome = "success" if reason in {"role_removed", "merged"} else "failure"
        await self.write(actor, human, None, tx)
        await self.tasks.remove_invites(human.id, tx)
        event = UserInviteWithdrawn.model_validate(
            {**about(actor, human, gone, place), "outcome": outcome, "reason": reason}
        )
        await self.outbox.add(tx, event)
