"""Events of the flags service."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, Contract, Event, Moment
from shared.flags import FlagRule, FlagScope

FlagStatusName = Literal["off", "on", "targeted", "rollout"]


class FlagScopeState(Contract):
    """Whom a flag is for; an empty list does not narrow."""

    plans: tuple[str, ...] = ()
    tenant_slugs: tuple[str, ...] = ()
    partner_slugs: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()

    def to_scope(self) -> FlagScope:
        """Return the scope as evaluation takes it."""
        return FlagScope(
            frozenset(self.plans),
            frozenset(self.tenant_slugs),
            frozenset(self.partner_slugs),
            frozenset(self.environments),
        )


class FlagState(Contract):
    """The full public state of a flag after a change. ``pct`` is a percentage, 0 to 100."""

    key: str
    description: str
    state: FlagStatusName
    pct: int
    scope: FlagScopeState
    created_at: Moment
    updated_at: Moment
    version: int

    def to_rule(self) -> FlagRule:
        """Return what evaluation needs."""
        return FlagRule(self.key, self.state, self.pct, self.scope.to_scope())


class FlagChanges(Contract):
    """Fields of a flag before and after; a field that did not change is absent."""

    description: Change[str] | None = None
    state: Change[FlagStatusName] | None = None
    pct: Change[int] | None = None
    scope: Change[FlagScopeState] | None = None


class FlagEvent(Event):
    """What all events of a flag's life carry."""

    state: FlagState
    changes: FlagChanges
    note: str | None = None


class FlagCreated(FlagEvent):
    type: ClassVar[str] = "flag.created.v1"
    summary: ClassVar[str] = "A flag was created, by an operator or by the first start."


class FlagUpdated(FlagEvent):
    type: ClassVar[str] = "flag.updated.v1"
    summary: ClassVar[str] = "State, percentage, scope or description of a flag changed."


class FlagKilled(FlagEvent):
    type: ClassVar[str] = "flag.killed.v1"
    summary: ClassVar[str] = "A flag was switched off for everybody at once."


class FlagDeleted(FlagEvent):
    type: ClassVar[str] = "flag.deleted.v1"
    summary: ClassVar[str] = "A flag was deleted; it evaluates to false."
