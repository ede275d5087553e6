"""How each source is doing: what operators see, and what the metrics say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Gauge

from services.audit.ingest.models import SOURCES, Source, Standing, State
from services.audit.ingest.repository import IngestRepository
from shared.clock import Clock

LATE = timedelta(minutes=2)
LOOK_EVERY_SECONDS = 15.0

_lag = Gauge("dezky_audit_source_lag_seconds", "How far the log is behind a source", ["source"])
_unwell = Gauge("dezky_audit_source_unwell", "1 while a source is in that state", ["source", "state"])
_waiting = Gauge("dezky_audit_ingest_waiting", "Records that wait to be chained", ["source"])


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of a source that is on.

    Attributes:
        silent_after: so long without a record is suspicious.
        polled: it is asked; otherwise it sends by itself.
    """

    silent_after: timedelta
    polled: bool


class Standings:
    """Judges the sources by what is stored, so that every replica says the same."""

    def __init__(
        self,
        repository: IngestRepository,
        expected: Mapping[Source, Expected],
        switches: Mapping[Source, str],
        clock: Clock,
    ) -> None:
        """``switches`` names the setting that turns a source on."""
        self._repository = repository
        self._expected = expected
        self._switches = switches
        self._clock = clock

    async def run(self) -> None:
        """Keep the metrics current until cancelled."""
        await self._repository.watch(self._expected, self._clock.now())
        while True:
            for standing in await self.all():
                _lag.labels(standing.source).set(standing.lag_seconds)
                _waiting.labels(standing.source).set(standing.waiting)
                for state in ("late", "silent", "error"):
                    _unwell.labels(standing.source, state).set(standing.state == state)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def all(self) -> list[Standing]:
        """Every source, whether it is on or off."""
        rows, backlog = await self._repository.sources(), await self._repository.backlog()
        now = self._clock.now()
        return [self._of(source, rows.get(source, {}), backlog.get(source), now) for source in SOURCES]

    def _of(
        self, source: Source, row: Mapping[str, Any], backlog: tuple[int, datetime] | None, now: datetime
    ) -> Standing:
        expected = self._expected.get(source)
        lag, why = _lag_of(row, backlog, expected, now)
        state, reason = self._judged(source, row, lag, why, now)
        return Standing(
            source=source,
            state=state,
            reason=reason,
            last_received=row.get("receivedAt"),
            last_position=_position(source, row.get("position")),
            lag_seconds=int(lag.total_seconds()),
            waiting=backlog[0] if backlog else 0,
            received=int(row.get("received", 0)),
            skipped={reason: int(count) for reason, count in row.get("skipped", {}).items()},
        )

    def _judged(
        self, source: Source, row: Mapping[str, Any], lag: timedelta, why: str, now: datetime
    ) -> tuple[State, str]:
        expected = self._expected.get(source)
        if expected is None:
            return "off", f"{self._switches[source]} is not set"
        if failure := row.get("failure"):
            return "error", str(failure["reason"])
        if lag > LATE:
            return "late", why
        silence = now - (row.get("receivedAt") or row.get("since") or now)
        if silence > expected.silent_after:
            hours = int(silence.total_seconds() // 3600)
            return "silent", f"nothing has arrived for {hours} hours" if hours else "nothing has arrived"
        return "ok", ""


def _lag_of(
    row: Mapping[str, Any], backlog: tuple[int, datetime] | None, expected: Expected | None, now: datetime
) -> tuple[timedelta, str]:
    waits = max(now - backlog[1], timedelta()) if backlog else timedelta()
    unread = timedelta()
    if expected is not None and expected.polled:
        unread = max(now - (row.get("caughtUpAt") or row.get("since") or now), timedelta())
    if unread > waits:
        return unread, "it has not been read to its end for longer than that"
    return waits, "what has arrived waits to be chained"


def _position(source: Source, position: Mapping[str, Any] | None) -> str | None:
    if position is None:
        return None
    if source == "authentik":
        sweep = position["sweep"]
        below = f", reading below it, {sweep['depth']} events deep" if sweep else ""
        return f"{(sweep or {}).get('top') or position['until']}{below}"
    return f"byte {position['offset']} of file {position['generation'] + 1}"
