"""Records of other systems on their way into the chain, and how their sources are doing.

SourceError         the source cannot be read now; ``reason`` is for operators and quotes nothing
├── SourceBusy      it asks for patience; ``retry_after`` in seconds
└── QueueFull       the chain has not taken what waits; nothing more is read
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

Source = Literal["authentik", "stalwart", "ocis"]
SOURCES: Final[tuple[Source, ...]] = ("authentik", "stalwart", "ocis")
State = Literal["off", "ok", "late", "silent", "error"]

LARGEST = 256 * 1024
"""Bytes of one record; a larger one is skipped and counted."""


class SourceError(Exception):
    """Nothing was read, or it was read and not taken: the next attempt begins where the last one ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SourceBusy(SourceError):
    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class QueueFull(SourceError):
    def __init__(self) -> None:
        super().__init__("the queue is full: what arrived before waits to be chained")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that a source said.

    Attributes:
        id: the id of the entry that it becomes; the same record always gets the same.
        body: the JSON text as it came, or as it stands in the source's answer.
    """

    id: str
    source: Source
    body: bytes
    received: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is stored in one transaction: records, and the place in the source up to which they reach.

    Attributes:
        position: None leaves the stored one as it is.
        skipped: how many were passed over, by reason.
        caught_up: the source had no more.
    """

    source: Source
    records: Sequence[Record] = ()
    position: Mapping[str, Any] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    caught_up: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How a source is doing.

    Attributes:
        reason: why it is not `ok`; empty where it is.
        lag_seconds: since the source was last known to be read to its end, or since the oldest record that waits
            to be chained arrived, whichever is longer.
    """

    source: Source
    state: State
    reason: str = ""
    last_received: datetime | None = None
    last_position: str | None = None
    lag_seconds: int = 0
    waiting: int = 0
    received: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
