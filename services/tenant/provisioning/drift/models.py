"""The kinds of differences that are looked for, and what becomes of one: pure, but for keeping what was found.

``docs/drift.md`` lists every kind with what it means; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from shared.contracts.tenant import DriftState, Integration
from shared.errors import Conflict, Invalid

MOST_TOLD = 50
"""Differences in one event, and in what is kept until it is written."""
MOST_ACCEPTED = 100
LONGEST_ACCEPTANCE = timedelta(days=365)

Handling = Literal["repaired", "acceptable", "left"]
"""``acceptable``: repaired unless an operator accepted it. ``left``: somebody's decision, listed and not undone."""


class UnknownDrift(Invalid):
    code, title = "unknown_drift_kind", "There is no such kind of drift"


class DriftNotAcceptable(Invalid):
    code, title = "drift_not_acceptable", "This kind of drift is always repaired"


class BadExpiry(Invalid):
    code, title = "bad_expiry", "The acceptance has to end, and within a year"


class TooManyAcceptances(Conflict):
    code, title = "too_many_acceptances", "So many differences of one tenant are no exceptions any more"


class AcceptedAlready(Conflict):
    code, title = "drift_accepted_already", "This difference is accepted already"


KINDS: Mapping[Integration, Mapping[str, Handling]] = {
    "authentik": {
        "group-deleted": "repaired",
        "group-unmarked": "repaired",
        "member-removed": "acceptable",
        "member-added": "repaired",
        "suite-member-removed": "acceptable",
        "suite-member-added": "repaired",
        "account-enabled": "repaired",
        "account-disabled": "left",
        "probe-deleted": "repaired",
        "probe-disabled": "repaired",
    },
    "stalwart": {
        "domain-deleted": "repaired",
        "mailbox-deleted": "repaired",
        "mailbox-quota": "acceptable",
        "mailbox-address": "repaired",
        "mailbox-name": "acceptable",
        "mailbox-freed": "repaired",
        "mailbox-stopped": "acceptable",
        "alias-removed": "acceptable",
    },
    "ocis": {
        "space-deleted": "repaired",
        "space-disabled": "acceptable",
        "space-enabled": "repaired",
        "space-quota": "acceptable",
        "space-unmarked": "repaired",
        "space-member-removed": "acceptable",
        "space-member-added": "acceptable",
        "space-role": "acceptable",
        "user-deleted": "repaired",
        "user-changed": "acceptable",
    },
}


class Difference(NamedTuple):
    """Something that is otherwise; ``object`` in the integration's own words, which name no person."""

    kind: str
    object: str

    def state(self, integration: Integration) -> DriftState:
        return DriftState(integration=integration, kind=self.kind, object=self.object)


Keep = Callable[[list[Difference]], Awaitable[None]]


@dataclass(slots=True)
class Differences:
    """What one comparison with one integration finds.

    Attributes:
        accepted: what an operator wants left as it is, now.
        keep: remembers what was found, before it is repaired; None while differences are the ordinary work that follows
            a change: nothing had agreed before, so nobody can have changed it by hand.
        told: what was found and is not told yet, by an earlier comparison that was interrupted, too.
        changes: how many were not as they should be and were repaired, since the last ``again``.
        tolerated: what was seen and let be.
    """

    integration: Integration
    accepted: frozenset[Difference] = frozenset()
    keep: Keep | None = None
    told: list[Difference] = field(default_factory=list)
    changes: int = 0
    tolerated: set[Difference] = field(default_factory=set)

    def again(self) -> None:
        """Begin another look: what it finds is what the first one did not settle, and nobody's drift."""
        self.changes = 0
        self.keep = None
        self.tolerated = set()

    def worked(self) -> None:
        """Count a step that follows from our own records and not from what somebody changed."""
        self.changes += 1

    async def repair(self, kind: str, name: object) -> bool:
        """Tell whether the difference has to be repaired now, and remember that it was found.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        found = Difference(kind, str(name))
        handling = KINDS[self.integration][kind]
        if handling == "left" or (handling == "acceptable" and found in self.accepted):
            self.tolerated.add(found)
            return False
        self.changes += 1
        if self.keep is not None and len(self.told) < MOST_TOLD and found not in self.told:
            self.told.append(found)
            await self.keep(self.told)
        return True

    @property
    def left(self) -> list[Difference]:
        """What was seen and is left to whoever made it."""
        return sorted(one for one in self.tolerated if KINDS[self.integration][one.kind] == "left")[:MOST_TOLD]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An operator's word that a difference may stay until ``expires_at``.

    Attributes:
        by: person id of the operator. last_seen: when a comparison last met the difference.
    """

    id: str
    tenant_id: str
    slug: str
    integration: Integration
    difference: Difference
    reason: str
    by: str
    created_at: datetime
    expires_at: datetime
    last_seen: datetime | None = None

    @property
    def drift(self) -> DriftState:
        return self.difference.state(self.integration)


def check_acceptable(integration: Integration, kind: str) -> None:
    """Refuse what may never be accepted: whatever could keep a tenant open that has to be shut.

    Raises:
        UnknownDrift, DriftNotAcceptable
    """
    handling = KINDS[integration].get(kind)
    if handling is None:
        raise UnknownDrift(f"kind: {integration} has {', '.join(KINDS[integration])}")
    if handling != "acceptable":
        may = ", ".join(name for name, how in KINDS[integration].items() if how == "acceptable")
        raise DriftNotAcceptable(f"kind: of {integration}, accept one of {may}")


def check_expiry(expires_at: datetime, now: datetime) -> None:
    """Refuse an acceptance that is over, or that is for ever.

    Raises:
        BadExpiry
    """
    if not now < expires_at <= now + LONGEST_ACCEPTANCE:
        raise BadExpiry("expiresAt: give a time within a year from now")


def accepted_of(acceptances: Iterable[Acceptance], integration: Integration) -> frozenset[Difference]:
    """Return what is accepted in one integration."""
    return frozenset(one.difference for one in acceptances if one.integration == integration)
