"""Whole lists as a stream, CSV or NDJSON: page by page, each of which is a bounded read of its own.

Nothing is held beyond one page, and no cursor stays open in MongoDB while a client is slow. The log only grows at
its head, so a list that begins at the head of a moment is the list of that moment, however long it is read. Pieces
are small, and between two of them the event loop serves others.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from prometheus_client import Counter

from services.audit.canonical import FIELDS
from services.audit.models import Head, Query
from services.audit.repository import AuditRepository
from services.audit.service import SLICE, AuditService
from services.audit.turns import Turns
from shared.spreadsheets import CSV_TYPE, Cell, csv_rows

PAGE = 500
COLUMNS = (*(name for name in FIELDS if name != "prevHash"), "prevHash", "hash", "erased")

Entries = Sequence[Mapping[str, Any]]
Kind = Literal["csv", "ndjson"]

_pages = Counter("dezky_audit_export_pages_total", "Pages of lists that were read for exports")


@dataclass(frozen=True, slots=True)
class Export:
    """A list on its way: the number that it begins at or below, its header fields, its pieces."""

    head: int
    headers: Mapping[str, str]
    pieces: AsyncGenerator[bytes]


class Exports:
    """Reads a list to its end. The query brings its scope."""

    def __init__(self, audit: AuditService, repository: AuditRepository, turns: Turns) -> None:
        self._audit = audit
        self._repository = repository
        self._turns = turns

    async def begin(self, kind: Kind, query: Query, actor_email: str | None = None) -> Export:
        """Read the first page, so that a failure up to here is an answer of its own; the rest follows on demand.

        The turn is held until `pieces` has ended or was closed. Raises ExportsBusy, and what reading a page raises.
        """
        head = await self._repository.head() or Head()
        bounds = [number for number in (query.below, head.seq + 1) if number is not None]
        bounded = dataclasses.replace(await self._audit.of_actor(query, actor_email), below=min(bounds))
        pieces = self._pieces(kind, bounded)
        await anext(pieces)
        headers = {
            "content-type": CSV_TYPE if kind == "csv" else "application/x-ndjson",
            "content-disposition": f'attachment; filename="audit.{kind}"',
            "dezky-head-seq": str(head.seq),
            "vary": "accept",
        }
        return Export(head.seq, headers, pieces)

    async def _pieces(self, kind: Kind, query: Query) -> AsyncGenerator[bytes]:
        """An empty piece once the first page is read, then the list."""
        written = as_csv if kind == "csv" else _as_lines
        with self._turns.taken():
            entries, following = await self._page(query, None)
            yield b""
            if kind == "csv":
                yield as_csv([], header=True)
            while True:
                for start in range(0, len(entries), SLICE):
                    yield written(entries[start : start + SLICE])
                    await asyncio.sleep(0)
                if following is None:
                    return
                # The keys are read with each page: who is erased meanwhile is gone from the next page on.
                entries, following = await self._page(query, following)

    async def _page(self, query: Query, before: int | None) -> tuple[Entries, int | None]:
        _pages.inc()
        return await self._audit.read(query, before, PAGE)


def _as_lines(entries: Entries) -> bytes:
    return b"".join(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in entries)


def as_csv(entries: Entries, *, header: bool = False) -> bytes:
    """Entries as readers see them, as rows of COLUMNS."""
    rows = ([_cell(entry[name]) for name in COLUMNS] for entry in entries)
    return csv_rows([COLUMNS, *rows] if header else rows)


def _cell(value: Any) -> Cell:
    """A text or a number as it is; whatever else as JSON."""
    return value if value is None or type(value) in {str, int} else orjson.dumps(value).decode()
