"""Events of the audit service: what is done to the log itself."""

from __future__ import annotations

from typing import ClassVar

from shared.contracts.envelope import Contract, Event, Moment


class ArchiveRequested(Event):
    type: ClassVar[str] = "audit.archive_requested.v1"
    summary: ClassVar[str] = (
        "An operator asked for archiving at once; told before it begins, and if there is nothing old."
    )


class Batch(Contract):
    """A batch of entries in cold storage, from ``start_seq`` to ``end_seq``, both included.

    An event's own field and not its ``state``, so that it stands in the entry: then the chain vouches for the manifest.

    Attributes:
        manifest_sha256: of the signed manifest as stored, in hexadecimal.
    """

    start_seq: int
    end_seq: int
    event_count: int
    manifest_sha256: str
    jsonl_key: str
    manifest_key: str
    archived_at: Moment


class BatchArchived(Event):
    type: ClassVar[str] = "audit.batch_archived.v1"
    summary: ClassVar[str] = "A batch was stored and read back; from now on its entries leave the database."

    batch: Batch


class BatchRestored(Event):
    """Entries come back into the database beside their archived form.

    Attributes:
        until: when archiving may take them out of it again; that is no event of its own.
    """

    type: ClassVar[str] = "audit.batch_restored.v1"
    summary: ClassVar[str] = "An operator had a batch put back into the database; it stays in cold storage, too."

    batch: Batch
    until: Moment
