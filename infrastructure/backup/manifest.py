"""What a backup says of itself: one JSON file that names every other file with its length and SHA-256."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Part):
    """A file of the backup: its path in the folder, its length in bytes, its SHA-256 in hex."""

    path: str
    length: int
    sha256: str


class CollectionCopy(_Part):
    """One collection: its documents as they are stored, one after the other (BSON), and how to make it.

    Attributes:
        service: who owns it; the database may have another name where it is restored.
        definition: options and indexes as MongoDB Extended JSON (canonical).
    """

    service: str
    name: str
    documents: int
    data: StoredFile
    definition: StoredFile


class StreamCopy(_Part):
    """One stream as the server snapshots it, and how far its consumers had acknowledged before that.

    Attributes:
        kind: `events` or `dead_letters`; the stream's name may carry another prefix where it is restored.
        config, state: what the server said of it; its restore API wants both.
        acknowledged: consumer, without prefix → highest sequence up to which everything was acknowledged.
    """

    kind: str
    config: dict[str, Any]
    state: dict[str, Any]
    data: StoredFile
    acknowledged: dict[str, int]


class Moment(_Part):
    """A cluster time of MongoDB: Unix seconds and a number within that second."""

    seconds: int
    increment: int


class Manifest(_Part):
    """The whole backup.

    Attributes:
        streams_at: by this machine's clock, before the first stream was read. What was acknowledged before is in it.
        mongo_at: the one moment of which every collection is, after `streams_at`.
        left_out: databases on the server that belong to no service.
        erasures: how many people the list outside had when this backup was made.
        keys: the file of keys that belongs to it, which is elsewhere; None where none was made.
    """

    format: int = Field(FORMAT, ge=FORMAT, le=FORMAT)
    streams_at: datetime
    mongo_at: Moment
    versions: dict[str, str]
    collections: list[CollectionCopy]
    streams: list[StreamCopy]
    left_out: list[str]
    erasures: int
    keys: StoredFile | None

    @property
    def files(self) -> list[StoredFile]:
        """Every file of the folder, but for this one."""
        return [file for copy in self.collections for file in (copy.data, copy.definition)] + [
            stream.data for stream in self.streams
        ]
