"""What the routes of proofs take and give."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from services.audit.canonical import MAX_INTEGER
from services.audit.models import Query
from services.audit.proofs.export import Selection
from services.audit.proofs.models import Consistency, Inclusion, StoredCheckpoint
from services.audit.schemas import Action, Moment, Name, Slug
from shared.clock import rfc3339
from shared.contracts import Outcome
from shared.schemas import View


class _Filters(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class InclusionFilters(_Filters):
    """Query of `GET /audit/proof/inclusion`."""

    seq: int = Field(ge=1, le=MAX_INTEGER, description="The entry.")
    size: int | None = Field(
        None,
        ge=1,
        le=MAX_INTEGER,
        description="Entries of the tree; by default as many as the newest checkpoint covers.",
    )


class ConsistencyFilters(_Filters):
    """Query of `GET /audit/proof/consistency`."""

    first: int = Field(ge=1, le=MAX_INTEGER, description="Entries of the smaller tree.")
    second: int | None = Field(
        None, ge=1, le=MAX_INTEGER, description="Entries of the larger tree; by default those of the newest checkpoint."
    )


class ExportFilters(_Filters):
    """Query of `GET /audit/export`."""

    since: Moment | None = Field(None, description="At or after this time (RFC 3339 with its offset).")
    until: Moment | None = Field(None, description="Before this time.")
    action: Action | None = Field(None, description="An action, or all under a word: `tenant.*`.")
    outcome: Outcome | None = None
    source: Name | None = None
    tenant_slug: Slug | None = None
    partner_slug: Slug | None = None
    from_seq: int = Field(1, ge=1, le=MAX_INTEGER, description="The first entry.")
    to_seq: int | None = Field(
        None, ge=1, le=MAX_INTEGER, description="The last entry; by default the last that the newest checkpoint covers."
    )
    reveal: bool = Field(False, description="Add salt and value of each personal value that can still be read.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to_seq is not None and self.to_seq < self.from_seq:
            raise ValueError("toSeq must not be below fromSeq")
        return self

    def selection(self) -> Selection:
        query = Query(
            since=rfc3339(self.since) if self.since else None,
            until=rfc3339(self.until) if self.until else None,
            action=self.action,
            outcome=self.outcome,
            source=self.source,
            tenant=self.tenant_slug,
            partner=self.partner_slug,
        )
        return Selection(query, self.from_seq, self.to_seq, self.reveal)


class CheckpointRef(View):
    """The checkpoint that a proof leads to."""

    number: int
    size: int
    root: str = Field(description="The root that is signed, in hexadecimal.")
    note: str = Field(description="The C2SP signed note.")

    @classmethod
    def of(cls, checkpoint: StoredCheckpoint) -> CheckpointRef:
        return cls(number=checkpoint.number, size=checkpoint.size, root=checkpoint.root.hex(), note=checkpoint.note)


class InclusionView(View):
    """RFC 9162 section 2.1.3: hashes in hexadecimal, from the leaf upwards."""

    seq: int
    size: int
    root: str
    leaf_hash: str = Field(description="SHA-256(0x00 ‖ the 32 bytes of the entry's hash).")
    proof: list[str]
    checkpoint: CheckpointRef

    @classmethod
    def of(cls, proven: Inclusion) -> InclusionView:
        return cls(
            seq=proven.seq,
            size=proven.size,
            root=proven.root.hex(),
            leaf_hash=proven.leaf.hex(),
            proof=[step.hex() for step in proven.proof],
            checkpoint=CheckpointRef.of(proven.checkpoint),
        )


class ConsistencyView(View):
    """RFC 9162 section 2.1.4: hashes in hexadecimal."""

    first: int
    second: int
    first_root: str
    second_root: str
    proof: list[str]
    checkpoint: CheckpointRef

    @classmethod
    def of(cls, proven: Consistency) -> ConsistencyView:
        return cls(
            first=proven.first,
            second=proven.second,
            first_root=proven.first_root.hex(),
            second_root=proven.second_root.hex(),
            proof=[step.hex() for step in proven.proof],
            checkpoint=CheckpointRef.of(proven.checkpoint),
        )


class RebuiltView(View):
    """The answer of `POST /audit/proof/rebuild`."""

    leaves: int = Field(description="Leaves that were made anew from entries in the database.")
    checkpoint: CheckpointRef
