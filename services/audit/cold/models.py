"""Errors of archiving, and a batch as operators see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.cold.manifest import Manifest
from shared.errors import Conflict


class ArchiveRunning(Conflict):
    code, title = "archive_running", "Archiving or a restore runs already"


class ArchiveRefused(Conflict):
    code, title = "archive_refused", "Entries that do not verify are not archived"


class ArchiveDamaged(Conflict):
    code, title = "archive_damaged", "An archived batch is not what was archived"


class ArchiverAbsent(Conflict):
    code, title = "cold_storage_not_configured", "Cold storage is not configured"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run did: batches written, batches whose entries it removed, and whether it stopped for lack of time."""

    batches: tuple[Mapping[str, Any], ...]
    removed: tuple[int, ...]
    more: bool


def row_of(manifest: Manifest, key: str, sha256: str) -> dict[str, Any]:
    """The row of a batch whose entries are still hot."""
    return {
        "_id": manifest.start_seq,
        "archivedAt": manifest.archived_at,
        "startSeq": manifest.start_seq,
        "endSeq": manifest.end_seq,
        "eventCount": manifest.event_count,
        "manifestSha256": sha256,
        "jsonlKey": manifest.jsonl_key,
        "manifestKey": key,
        "bytesUncompressed": manifest.bytes_uncompressed,
        "summary": manifest.summary.document(),
        "tier": "leaving",
        "restoredAt": None,
    }


def belongs(row: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether a row says of a batch what its signed manifest says."""
    said = row_of(manifest, str(row.get("manifestKey")), str(row.get("manifestSha256")))
    return all(row.get(name) == value for name, value in said.items() if name not in {"tier", "restoredAt"})
