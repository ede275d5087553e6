"""Times as the API writes them: RFC 3339 in UTC, with microseconds and `Z`."""

from datetime import UTC, datetime, timedelta


def moment(ahead: timedelta = timedelta(0)) -> str:
    """Now, or so much later. Moments of equal length sort as text."""
    return written(datetime.now(UTC) + ahead)


def written(at: datetime) -> str:
    """Raises ValueError for a time without a zone, which would silently mean this machine's."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
