"""What the flags API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from services.flags.models import Flag, parse_key
from services.flags.service import Preview
from shared.contracts.flag import FlagScopeState, FlagStatusName
from shared.errors import Invalid
from shared.flags import Verdict
from shared.schemas import Input, Prose, Text, Timestamp, View

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")]
Names = Annotated[list[Name], Field(max_length=1_000)]
Percent = Annotated[int, Field(ge=0, le=100)]


class ScopeInput(Input):
    """Whom a flag is for; an empty list does not narrow."""

    plans: Names = Field(default_factory=list)
    tenant_slugs: Names = Field(default_factory=list)
    partner_slugs: Names = Field(default_factory=list)
    environments: Names = Field(default_factory=list)

    def to_scope(self) -> FlagScopeState:
        return FlagScopeState(
            plans=tuple(sorted(set(self.plans))),
            tenant_slugs=tuple(sorted(set(self.tenant_slugs))),
            partner_slugs=tuple(sorted(set(self.partner_slugs))),
            environments=tuple(sorted(set(self.environments))),
        )


class CreateFlag(Input):
    key: Annotated[str, Field(max_length=64)]
    description: Text
    state: FlagStatusName = "off"
    pct: Percent = 0
    scope: ScopeInput = Field(default_factory=ScopeInput)

    def to_flag(self, at: datetime) -> Flag:
        """Return the flag to be.

        Raises:
            Invalid: the key is none.
        """
        return Flag(
            key=parse_key(self.key),
            description=self.description,
            state=self.state,
            pct=self.pct,
            scope=self.scope.to_scope(),
            created_at=at,
            updated_at=at,
        )


class UpdateFlag(Input):
    """What to change; absent members stay as they are. ``note`` says why."""

    description: Text | None = None
    state: FlagStatusName | None = None
    pct: Percent | None = None
    scope: ScopeInput | None = None
    note: Prose | None = None

    def to_changes(self) -> dict[str, object]:
        """Return the new values by name of the field.

        Raises:
            Invalid: a member is null.
        """
        changes: dict[str, object] = {}
        for name in self.model_fields_set - {"note"}:
            value = getattr(self, name)
            if value is None:
                raise Invalid.field(name, "null", "leave the member out to keep its value")
            changes[name] = value.to_scope() if isinstance(value, ScopeInput) else value
        return changes


class EvaluateFor(Input):
    tenant_slug: Annotated[str, Field(min_length=1, max_length=64)]


class ScopeView(View):
    plans: list[str]
    tenant_slugs: list[str]
    partner_slugs: list[str]
    environments: list[str]


class ChangeView(View):
    at: Timestamp
    actor: str
    note: str | None
    changes: dict[str, Any]


class FlagView(View):
    """A flag; ``history`` holds its last 20 changes, newest first."""

    key: str
    description: str
    state: FlagStatusName
    pct: int
    scope: ScopeView
    created_at: Timestamp
    updated_at: Timestamp
    version: int
    history: list[ChangeView]


class FlagList(View):
    items: list[FlagView]
    next: str | None


class PreviewView(View):
    """How many of how many tenants, and the first 100 of them by slug."""

    matched: int
    total: int
    first: list[str]


class VerdictView(View):
    value: bool
    reason: str
    bucket: int | None


def view_of(flag: Flag) -> FlagView:
    """Return all of a flag."""
    return FlagView(
        key=flag.key,
        description=flag.description,
        state=flag.state,
        pct=flag.pct,
        scope=ScopeView.model_validate(flag.scope.model_dump(mode="json")),
        created_at=flag.created_at,
        updated_at=flag.updated_at,
        version=flag.version,
        history=[
            ChangeView(at=step.at, actor=step.actor, note=step.note, changes=dict(step.changes))
            for step in flag.history
        ],
    )


def preview_view(preview: Preview) -> PreviewView:
    """Return a preview."""
    return PreviewView(matched=preview.matched, total=preview.total, first=list(preview.first))


def verdict_view(verdict: Verdict) -> VerdictView:
    """Return a verdict."""
    return VerdictView(value=verdict.value, reason=verdict.reason, bucket=verdict.bucket)
