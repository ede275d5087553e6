"""Authentik's event log, read newest first.

`GET /api/v3/events/events/` has no filter by time and no cursor, only page numbers, and an event commits some time
after its `created`. So a sweep goes down from the newest event to some minutes before the newest one of the sweep
before it, and what was read already is told by its id. Source: schema 2026.8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from services.audit.ingest.intake import Intake, Tenure
from services.audit.ingest.models import Arrival, Record, SourceBusy, SourceError
from services.audit.ingest.repository import IngestRepository
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.http_client import HttpClient, RemoteUnavailable

DEADLINE = timedelta(seconds=5)
OVERLAP = timedelta(minutes=5)
PAGE_SIZE = 100
MOST_PAGES = 20
MOST_ANSWER = 32 * 1024 * 1024
RETRY_AFTER_AT_MOST = 300
_FIRST = datetime.min.replace(tzinfo=UTC) + OVERLAP
_PK = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Row:
    """One event of a page; `created` is None where it is no time."""

    id: str
    created: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first; `count` is how many there are on all pages."""

    rows: tuple[Row, ...]
    count: int
    last: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """The way down from the newest event.

    Attributes:
        top: time of the newest event when it began, None if there was none.
        bottom: it ends below this time, or with the last event.
        depth: how many events lie above what is not read yet, if `count` have not changed.
    """

    top: str | None
    bottom: str | None
    depth: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """What has been read: everything created before `until`, and a part of what came later."""

    until: str | None = None
    sweep: Sweep | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Cursor:
        """The cursor as it was stored."""
        if stored is None:
            return cls()
        sweep = stored["sweep"]
        return cls(stored["until"], None if sweep is None else Sweep(**sweep))


class AuthentikEvents:
    """Calls one instance under one API token; every call has a deadline."""

    def __init__(self, base_url: str, token: str, *, page_size: int = PAGE_SIZE) -> None:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        base = f"{base_url.rstrip('/')}/api/v3/"
        self._http = HttpClient(base, deadline=DEADLINE, headers=headers, max_answer=MOST_ANSWER)
        self.page_size = page_size

    async def close(self) -> None:
        await self._http.close()

    async def page(self, number: int) -> EventPage | None:
        """One page, the newest events on page 1; None past the end.

        Raises SourceError, SourceBusy.
        """
        query = {"ordering": "-created", "page": str(number), "page_size": str(self.page_size)}
        try:
            answer = await self._http.request("GET", "events/events/", params=query)
        except RemoteUnavailable as error:
            raise SourceError(error.detail) from error
        if answer.status_code == 404 and number > 1:
            return None
        if answer.status_code == 429:
            text = answer.headers.get("retry-after", "")
            seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
            raise SourceBusy("it asks for patience", min(max(seconds, 1), RETRY_AFTER_AT_MOST))
        if answer.status_code in {401, 403}:
            raise SourceError("it refuses the API token: look at AUDIT_AUTHENTIK_TOKEN and its permissions")
        if answer.status_code != 200:
            raise SourceError(f"it answered {answer.status_code}")
        return _page_of(answer.content)


def _page_of(content: bytes) -> EventPage:
    try:
        answer = json.loads(content)
        count, following = answer["pagination"]["count"], answer["pagination"]["next"]
        rows = tuple(_row(event) for event in answer["results"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError("its answer is no page of events") from error
    if type(count) is not int:
        raise SourceError("its answer is no page of events")
    return EventPage(rows, count, not following)


def _row(event: Any) -> Row:
    body = json.dumps(event).encode()
    pk = event.get("pk") if isinstance(event, dict) else None
    name = pk if isinstance(pk, str) and _PK.fullmatch(pk) else f"sha256:{sha256(body).hexdigest()}"
    try:
        created = rfc3339(parse_rfc3339(event["created"]))
    except (ValueError, KeyError, TypeError):
        created = None
    return Row(f"authentik:{name}", created, body)


class AuthentikPoll:
    """One look at the log: from where the last one stopped, a bounded number of pages at a time."""

    def __init__(
        self,
        events: AuthentikEvents,
        intake: Intake,
        repository: IngestRepository,
        tenure: Tenure,
        clock: Clock,
        most_pages: int = MOST_PAGES,
    ) -> None:
        self._events = events
        self._intake = intake
        self._repository = repository
        self._tenure = tenure
        self._clock = clock
        self._most_pages = most_pages

    async def once(self) -> bool:
        """Read what is new; True if there is more. Each page is stored with the cursor that it leads to.

        Raises SourceError, LeaseLost, and the driver's errors.
        """
        cursor = Cursor.of(await self._repository.position("authentik"))
        await self._intake.require_room()
        for _ in range(self._most_pages):
            sweep, page = await self._next(cursor)
            done = page.last or _is_below(page, sweep.bottom)
            cursor = Cursor(_later(cursor.until, sweep.top)) if done else Cursor(cursor.until, sweep)
            arrival = Arrival("authentik", self._records(page, sweep), position=asdict(cursor), caught_up=done)
            await self._intake.take(arrival, self._tenure)
            if done:
                return False
        return True

    async def _next(self, cursor: Cursor) -> tuple[Sweep, EventPage]:
        """The page at which the sweep goes on, and the sweep after it.

        Events that are added push the rest down, so that some are read twice. Events that are removed pull it up:
        as many as the log became shorter may have slipped by, so the sweep goes back by so many.
        """
        sweep = cursor.sweep
        depth, count = (sweep.depth, sweep.count) if sweep else (0, 0)
        while True:
            number = depth // self._events.page_size + 1
            page = await self._events.page(number)
            if page is None:
                depth //= 2
            elif page.count < count and depth > 0:
                depth, count = max(0, depth - (count - page.count)), page.count
            else:
                begun = sweep or self._begin(cursor, page)
                return replace(begun, depth=number * self._events.page_size, count=page.count), page

    def _begin(self, cursor: Cursor, page: EventPage) -> Sweep:
        times = [row.created for row in page.rows if row.created is not None]
        # A time to come would put the next sweep's end above what is still to happen.
        top = min(max(times), rfc3339(self._clock.now())) if times else None
        bottom = None if cursor.until is None else _before(cursor.until)
        return Sweep(top, bottom)

    def _records(self, page: EventPage, sweep: Sweep) -> list[Record]:
        """The events of a page, oldest first; what lies below the sweep has been read by an earlier one."""
        now = self._clock.now()
        wanted = [
            row for row in page.rows if sweep.bottom is None or row.created is None or row.created >= sweep.bottom
        ]
        return [Record(row.id, "authentik", row.body, now) for row in reversed(wanted)]


def _is_below(page: EventPage, bottom: str | None) -> bool:
    times = [row.created for row in page.rows if row.created is not None]
    return bottom is not None and bool(times) and min(times) < bottom


def _before(moment: str) -> str:
    return rfc3339(max(parse_rfc3339(moment), _FIRST) - OVERLAP)


def _later(one: str | None, other: str | None) -> str | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
