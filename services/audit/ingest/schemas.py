"""What the routes of ingestion give."""

from __future__ import annotations

from pydantic import Field

from services.audit.ingest.models import Source, Standing, State
from shared.schemas import Timestamp, View


class SourceView(View):
    """How a source outside the platform is doing."""

    source: Source
    state: State
    reason: str = Field(description="Why it is not `ok`; empty where it is.")
    last_received: Timestamp | None
    last_position: str | None = Field(
        description="How far the source has been read, in words; null if it sends by itself."
    )
    lag_seconds: int = Field(description="How far the log is behind the source.")
    waiting: int = Field(description="Records that have arrived and are not chained yet.")
    received: int
    skipped: dict[str, int] = Field(description="What is not chained, by reason.")

    @classmethod
    def of(cls, standing: Standing) -> SourceView:
        return cls(
            source=standing.source,
            state=standing.state,
            reason=standing.reason,
            last_received=standing.last_received,
            last_position=standing.last_position,
            lag_seconds=standing.lag_seconds,
            waiting=standing.waiting,
            received=standing.received,
            skipped=dict(standing.skipped),
        )


class SourceList(View):
    """Every source, also those that are off."""

    items: list[SourceView]
