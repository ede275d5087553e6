"""A flag and its changes: pure functions of the model and the time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from shared.contracts.envelope import changes_of
from shared.contracts.flag import FlagChanges, FlagScopeState, FlagState, FlagStatusName
from shared.errors import Conflict, Invalid

HISTORY = 20
KILL_NOTE = "kill-switch"
_KEY = re.compile(r"[a-z][a-z0-9_]{1,58}[a-z0-9]")


class FlagExists(Conflict):
    code, title = "flag_exists", "A flag with this key exists"


@dataclass(frozen=True, slots=True)
class FlagChange:
    """One step of a flag's history: who (person id), when, why, and the fields before and after."""

    at: datetime
    actor: str
    note: str | None
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. ``version`` grows over deletion and creation anew, so no reader mistakes an older flag for a newer."""

    key: str
    description: str
    created_at: datetime
    updated_at: datetime
    state: FlagStatusName = "off"
    pct: int = 0
    scope: FlagScopeState = field(default_factory=FlagScopeState)
    version: int = 1
    deleted: bool = False
    history: tuple[FlagChange, ...] = ()

    def change(self, at: datetime, actor: str, note: str | None, **values: Any) -> Flag:
        """Take over new values of state, pct, scope or description; the same values change nothing."""
        if all(getattr(self, name) == value for name, value in values.items()):
            return self
        after = replace(self, **values, updated_at=at, version=self.version + 1)
        step = FlagChange(at, actor, note, changes_between(self, after).model_dump(mode="json", exclude_none=True))
        return replace(after, history=(step, *self.history)[:HISTORY])

    def kill(self, at: datetime, actor: str) -> Flag:
        """Switch off for everybody; killing a dead flag changes nothing."""
        return self.change(at, actor, KILL_NOTE, state="off", pct=0)

    def delete(self, at: datetime) -> Flag:
        """Remove; the version stays counted."""
        return replace(self, deleted=True, state="off", pct=0, updated_at=at, version=self.version + 1)


def parse_key(text: str) -> str:
    """Return ``text`` if it is a key: 3 to 60 of a-z, 0-9 and underscores, beginning with a letter.

    Raises:
        Invalid: it is not.
    """
    if not _KEY.fullmatch(text):
        raise Invalid.field("key", "bad_key", "use 3 to 60 of a-z, 0-9 and underscores, beginning with a letter")
    return text


def state_of(flag: Flag) -> FlagState:
    """Return the public state that events carry."""
    names = FlagState.model_fields
    return FlagState.model_validate({f.name: getattr(flag, f.name) for f in fields(flag) if f.name in names})


def changes_between(before: Flag | None, after: Flag) -> FlagChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(FlagChanges, before, after)
