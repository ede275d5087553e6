"""What the routes of archives give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from services.audit.cold.models import Ran
from shared.schemas import View


class ArchiveBatch(View):
    """A batch of archived entries."""

    archived_at: str
    start_seq: int
    end_seq: int
    event_count: int
    manifest_sha256: str = Field(description="SHA-256 of the signed manifest as stored, in hexadecimal.")
    jsonl_key: str
    manifest_key: str
    bytes_uncompressed: int
    tier: str = Field(description="`cold`; `leaving` or `restoring` on the way; `restored` while it is in both tiers.")
    restored_at: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ArchiveBatch:
        return cls.model_validate({name: row[info.alias or name] for name, info in cls.model_fields.items()})


class ArchivePage(View):
    """A page of batches, the newest first."""

    items: list[ArchiveBatch]
    next: str | None


class ArchiveRun(View):
    """What one run did."""

    batches: list[ArchiveBatch] = Field(description="Batches that were archived.")
    removed: list[int] = Field(description="Batches of before whose entries were removed; by their first number.")
    more: bool = Field(description="Time ran out, and more is old enough: run it again.")

    @classmethod
    def of(cls, ran: Ran) -> ArchiveRun:
        return cls(batches=[ArchiveBatch.of(row) for row in ran.batches], removed=list(ran.removed), more=ran.more)
