"""What a restore changes of the delivery's own memory, so that nobody misses an event and nobody hears one twice.

The streams are copied before the databases. What was told in between is in no restored stream, so its outbox rows
are marked as not told. Whoever has heard it already knows its id in the inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import decode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from shared.outbox import KEPT
from shared.topology import EVENT_AGE

MARGIN = timedelta(minutes=10)
"""So much may the clocks of services and of the machine that makes the backup differ."""

_DECODED: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
_EVER = datetime.min.replace(tzinfo=UTC)


def changes(streams_at: datetime, now: datetime) -> dict[str, Callable[[RawBSONDocument], Mapping[str, Any]]]:
    """Collection → what becomes of its rows."""
    since = told_again_since(streams_at, now)
    return {
        "outbox": lambda row: told_again(row, since),
        "inbox": lambda row: remembered(row, now - streams_at),
    }


def told_again_since(streams_at: datetime, now: datetime) -> datetime:
    """From when on what was told is told again.

    The restored stream drops at once what is older than its limit. Where that could be something that a consumer still
    had before it, everything that an outbox keeps is told again.
    """
    return _EVER if now - streams_at > EVENT_AGE - KEPT else streams_at - MARGIN


def told_again(row: RawBSONDocument, since: datetime) -> Mapping[str, Any]:
    """A row of an outbox, not told if it was told after `since`; it keeps id and number, by which it is known."""
    told = row.get("publishedAt")
    if told is None or told < since:
        return row
    changed = decode(row.raw, _DECODED)
    del changed["publishedAt"]
    return {**changed, "pending": True}


def remembered(row: RawBSONDocument, asleep: timedelta) -> Mapping[str, Any]:
    """A row of an inbox, as old as when it was copied: or its time to live would end before that of what it knows."""
    changed = decode(row.raw, _DECODED)
    changed["at"] += asleep
    return changed
