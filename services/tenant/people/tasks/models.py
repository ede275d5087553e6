"""An intent towards the identity provider, recorded in the transaction that wants it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.tenant.people.models import Place
from shared.contracts.envelope import Actor
from shared.errors import Conflict
from shared.ids import new_id

TaskKind = Literal["invite", "resend", "activity", "groups", "erase"]

HOLD = timedelta(seconds=15)
"""How long one process has a task to itself: longer than any attempt takes. After a kill another takes it then."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 300.0


class TaskLost(Conflict):
    code, title = "task_lost", "Another process took this over"


@dataclass(frozen=True, slots=True)
class Leftover:
    """By what the account of somebody who was erased is found; forgotten when that is done.

    Attributes:
        account: the identity provider's number of it. subjects: whom it must be.
    """

    account: int | None = None
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One open intent.

    ``invite`` makes a person known at the identity provider and gives them ``role`` at ``place``. ``activity`` and
    ``groups`` make the account there agree with our record, whatever that says by then: may the person sign in, and are
    they in the group of partners' people. ``resend`` only keeps a second resend away; no worker does anything for it.
    ``erase`` forgets what is left of a person.

    Attributes:
        wanted: counts how often the intent was expressed; an effect answers only what it saw.
        holder: the token of whoever works on it now; a result is recorded under that token only.
        reason: the code of what went wrong last, or empty.
    """

    kind: TaskKind
    person: str
    place: Place | None = None
    role: str | None = None
    actor: Actor | None = None
    wanted: int = 1
    attempts: int = 0
    holder: str = field(default_factory=new_id)
    reason: str = ""
    created_at: datetime | None = None
    leftover: Leftover | None = None

    @property
    def id(self) -> str:
        """One task per person and matter."""
        return f"{self.kind}:{self.person}" + (f":{self.place.key}" if self.place else "")


def pause(attempts: int, chance: float) -> timedelta:
    """Return how long to wait after the attempt of this number, from 1: exponential, the upper half left to
    ``chance`` (0 to 1), so that many tasks that failed together do not come back together."""
    longest = min(FIRST_PAUSE * 2.0 ** min(attempts, 20), LONGEST_PAUSE)
    return timedelta(seconds=longest * (0.5 + 0.5 * chance))
