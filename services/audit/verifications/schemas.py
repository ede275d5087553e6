"""What the routes of verifications take and give."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field, model_validator

from services.audit.canonical import MAX_INTEGER
from services.audit.schemas import VerdictView
from services.audit.verifications.places import Scope
from services.audit.verifications.service import Job
from shared.schemas import Input, View


class RequestVerification(Input):
    """Which part of the log; without members, all of it."""

    first: int = Field(1, alias="from", ge=1, le=MAX_INTEGER, description="The first entry.")
    last: int | None = Field(None, alias="to", ge=1, le=MAX_INTEGER, description="The last entry; else the newest.")
    since_checkpoint: bool = Field(
        False, description="What came after the newest checkpoint that a verification has reached; alone."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> RequestVerification:
        if self.last is not None and self.last < self.first:
            raise ValueError("`to` must not be before `from`")
        if self.since_checkpoint and (self.first > 1 or self.last is not None):
            raise ValueError("`sinceCheckpoint` takes no range")
        return self

    def scope(self) -> Scope:
        return Scope(self.first, self.last, self.since_checkpoint)


class JobView(View):
    """A verification: how far it is, and in the end its verdict."""

    id: str
    state: str = Field(
        description="`open`, `done`, or `void`: the verdict in MongoDB is not the one that was written there."
    )
    first: int = Field(alias="from")
    last: int | None = Field(alias="to")
    since_checkpoint: bool
    verified: int = Field(description="Entries that hold so far.")
    of: int | None = Field(description="Entries that there are to verify; null until that is known.")
    after: int | None = Field(description="The entry, itself not verified, behind which it began; 0: the whole log.")
    anchor_checkpoint: int | None = Field(description="The checkpoint that vouches for that entry.")
    witnessed_seq: int | None = Field(description="Up to this entry, checkpoints were compared with the witness.")
    verdict: VerdictView | None

    def rendered(self) -> bytes:
        document: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude={"verdict"})
        document["verdict"] = None if self.verdict is None else self.verdict.document()
        return orjson.dumps(document)


def view_of(job: Job) -> JobView:
    """The view of a job."""
    verdict = job.verdict
    return JobView(
        id=job.id,
        state=job.state,
        first=job.scope.first,
        last=job.scope.last,
        since_checkpoint=job.scope.since_checkpoint,
        verified=job.verified,
        of=job.of,
        after=None if verdict is None else verdict.after,
        anchor_checkpoint=None if verdict is None else verdict.since_checkpoint,
        witnessed_seq=None if verdict is None else verdict.witnessed_seq,
        verdict=None if verdict is None else VerdictView.of(verdict, list(verdict.findings)),
    )
