"""Time: aware UTC with milliseconds, because that is what BSON and the API keep."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Protocol

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


class Clock(Protocol):
    """Where a use case gets its time from, so that a test can hand in its own."""

    def now(self) -> datetime:
        """Return the current moment: aware, UTC, truncated to milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return to_milliseconds(datetime.now(UTC))


def to_milliseconds(moment: datetime) -> datetime:
    """Truncate to milliseconds in UTC, so that a value equals itself after a round trip through BSON."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """Render as RFC 3339 in UTC with exactly three decimals: ``2026-11-22T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 date-time; the offset is required.

    Raises:
        ValueError: the text is no date-time of RFC 3339 (other forms of ISO 8601 are none), or no time that exists.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("no date-time of RFC 3339: write it as 2026-11-22T12:00:00.000Z")
    try:
        return to_milliseconds(datetime.fromisoformat(text.upper()))
    except OverflowError as error:  # in UTC it would be before year 1 or after 9999
        raise ValueError("out of range: in UTC it is before the year 1 or after 9999") from error
