"""What the routes of the audit service take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from services.audit.actions import may_be_met
from services.audit.canonical import MAX_INTEGER
from services.audit.models import Break, Query, Verdict
from shared.clock import rfc3339, to_milliseconds
from shared.contracts import Outcome
from shared.paging import DEFAULT_LIMIT, MAX_LIMIT
from shared.schemas import Email, View


def _canonical(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("must name its offset: 2026-11-22T12:00:00Z")
    try:
        return to_milliseconds(moment)
    except OverflowError as error:
        raise ValueError("must lie within the years 1 to 9999") from error


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _known(action: str) -> str:
    if not may_be_met(action):
        raise PydanticCustomError("unknown_action", "no event is called that, nor begins with it")
    return action


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$")]
Moment = Annotated[datetime, AfterValidator(_canonical)]
Action = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+){0,7}(\.\*)?$", max_length=200),
    AfterValidator(_known),
]
SearchText = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_one_line)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


Form = Literal["json", "csv", "ndjson"]


class ScopedFilters(BaseModel):
    """Query of `GET /tenants/{slug}/audit` and, with `tenantSlug`, of `GET /partners/{slug}/audit`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    since: Moment | None = Field(None, description="At or after this time (RFC 3339 with its offset).")
    until: Moment | None = Field(None, description="Before this time.")
    before: int | None = Field(None, ge=1, le=MAX_INTEGER, description="Only entries with a lower `seq`.")
    action: Action | None = Field(None, description="An action, or all under a word: `tenant.*`.")
    outcome: Outcome | None = None
    q: SearchText | None = Field(None, description="Part of the action, the resource's name or the tenant.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Entries per page.")
    cursor: str | None = Field(None, max_length=2_000, description="`next` of the page before.")
    format: Form | None = Field(None, description="Instead of `Accept`. `csv` and `ndjson` are the whole list at once.")

    def query(self) -> Query:
        """The filters, without the place in the list."""
        return Query(
            since=rfc3339(self.since) if self.since else None,
            until=rfc3339(self.until) if self.until else None,
            below=self.before,
            action=self.action,
            outcome=self.outcome,
            text=self.q,
        )


class PartnerFilters(ScopedFilters):
    """Query of `GET /partners/{slug}/audit`."""

    tenant_slug: Slug | None = None

    def query(self) -> Query:
        return Query(**{**_fields(super().query()), "tenant": self.tenant_slug})


class LogFilters(PartnerFilters):
    """Query of `GET /audit`."""

    partner_slug: Slug | None = None
    actor_email: Email | None = None
    source: Name | None = None

    def query(self) -> Query:
        return Query(**{**_fields(super().query()), "partner": self.partner_slug, "source": self.source})


def _fields(query: Query) -> dict[str, Any]:
    return {name: getattr(query, name) for name in Query.__dataclass_fields__}


class EntryView(View):
    """An entry as readers see it: personal values in the clear, or null once their key has been destroyed."""

    v: int
    seq: int
    id: str
    at: str
    actor_type: str
    actor_id: str | None
    actor_email: str | None
    actor_ip: str | None
    surface: str | None
    action: str
    outcome: str
    resource_type: str | None
    resource_id: str | None
    resource_name: str | None
    tenant_slug: str | None
    partner_slug: str | None
    source: str
    metadata: dict[str, Any]
    prev_hash: str
    hash: str
    erased: bool = Field(description="Some personal value of this entry can no longer be read.")


class EntryPage(View):
    """A page of the log, newest first. It is short, even empty, and has a next one only where `searchedTo` is set."""

    items: list[EntryView]
    next: str | None
    searched_to: int | None = Field(
        description="Null on a full and on the last page. Else the page is short because it looked at as much as one "
        "page may: all entries down to this `seq` have been looked at, and `next` goes on below it."
    )


class BreakView(View):
    """The first place where the chain does not hold."""

    kind: str
    seq: int | None = None
    head_seq: int | None = None
    expected: str
    actual: str
    field: str | None = None
    checkpoint: int | None = None

    @classmethod
    def of(cls, broken: Break) -> BreakView:
        at_head = broken.kind in {"truncated-tail", "checkpoint-signature-mismatch"}
        return cls(
            kind=broken.kind,
            seq=None if at_head else broken.seq,
            head_seq=broken.seq if at_head else None,
            expected=broken.expected,
            actual=broken.actual,
            field=broken.field,
            checkpoint=broken.checkpoint,
        )


class VerdictView(View):
    """The answer of `GET /audit/verify`."""

    ok: bool
    verified: int = Field(description="Entries that hold, from the first on.")
    checkpoints: int = Field(description="Checkpoints that hold.")
    head_seq: int
    oldest_hot_seq: int | None
    highest_archived_seq: int | None
    findings: list[str] = Field(description="Alarms that break no hash: missing events, missing keys, no witness.")
    broken: BreakView | None = Field(None, alias="break")

    def rendered(self) -> bytes:
        """JSON in which `break` and its members are absent rather than null."""
        return orjson.dumps(self.document())

    def document(self) -> dict[str, Any]:
        """The members of the answer."""
        document: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude={"broken"})
        if self.broken is not None:
            document["break"] = self.broken.model_dump(mode="json", by_alias=True, exclude_none=True)
        return document

    @classmethod
    def of(cls, verdict: Verdict, findings: list[str]) -> VerdictView:
        return cls(
            ok=verdict.broken is None,
            verified=verdict.verified,
            checkpoints=verdict.checkpoints,
            head_seq=verdict.head_seq,
            oldest_hot_seq=verdict.oldest_seq,
            highest_archived_seq=verdict.archived_up_to,
            findings=findings,
            broken=None if verdict.broken is None else BreakView.of(verdict.broken),
        )
