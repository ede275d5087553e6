"""What clients are told of the routes of archives, beside their signatures."""

from __future__ import annotations

from typing import Any

from services.audit.cold.models import ArchiveDamaged, ArchiverAbsent, ArchiveRefused, ArchiveRunning
from services.audit.cold.object_store import StoreUnavailable
from shared.errors import Invalid, NotFound
from shared.openapi import Described, Operations

_SHA = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"
BATCH: dict[str, Any] = {
    "archivedAt": "2026-11-23T03:00:04.120Z",
    "startSeq": 1,
    "endSeq": 50_000,
    "eventCount": 50_000,
    "manifestSha256": "6f1ed002ab5595859014ebf0951522d9a6a0a4b39ec6f4e1a3d0a3f0b1e7c9d2",
    "jsonlKey": f"batches/0000000000000001-{_SHA}.jsonl.gz",
    "manifestKey": "manifests/0000000000000001-0.json",
    "bytesUncompressed": 61_204_482,
    "tier": "cold",
    "restoredAt": None,
}
_REFUSALS = (ArchiverAbsent, ArchiveRunning, ArchiveRefused, ArchiveDamaged, StoreUnavailable)

OPERATIONS: Operations = {
    "list_archives": Described(
        text="Each batch is an object of compressed lines and a signed manifest in cold storage.",
        answer={"items": [BATCH], "next": None},
    ),
    "run_archive": Described(
        text="Entries older than the retention go to cold storage, and leave the database once they were read back. "
        "What an earlier run left unfinished is finished first.",
        answer={"batches": [BATCH], "removed": [], "more": False},
        refusals=_REFUSALS,
    ),
    "restore_archive": Described(
        text="The batch stays in cold storage, too; after seven days archiving takes it out of the database again.",
        answer={**BATCH, "tier": "restored", "restoredAt": "2026-11-24T10:00:00.000Z"},
        refusals=(NotFound, Invalid, *_REFUSALS),
    ),
}
