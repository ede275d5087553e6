"""Reports as CSV (RFC 4180): a header row, CRLF, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel

from shared.app import answer
from shared.clock import rfc3339
from shared.idempotency import Answer
from shared.paging import link_to

Cell = str | int | None
# What spreadsheets take for the beginning of a formula (OWASP, «CSV Injection»); also behind leading white space.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True, slots=True)
class Table:
    """A report as rows; ``name`` is that of the file."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def as_csv(table: Table) -> bytes:
    """Return the table in UTF-8: text that looks like a formula gets an apostrophe, numbers stay numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(table.header)
    writer.writerows([_harmless(cell) for cell in row] for row in table.rows)
    return out.getvalue().encode()


def _harmless(cell: Cell) -> str | int:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell
    return "" if cell is None else cell


@dataclass(frozen=True, slots=True)
class Form:
    """How the caller wants a report."""

    csv: bool
    url: str

    def answer(self, view: BaseModel, table: Table, as_of: datetime | None, following: str | None = None) -> Answer:
        """Return a report; ``following`` is the cursor of the next page."""
        if not self.csv:
            reply = answer(view)
        else:
            headers = {
                "content-type": "text/csv; charset=utf-8; header=present",
                "content-disposition": f'attachment; filename="{table.name}.csv"',
            }
            if as_of is not None:
                headers["dezky-as-of"] = rfc3339(as_of)
            reply = Answer(200, headers, as_csv(table))
        reply.headers.update(link_to(self.url, following))
        reply.headers["vary"] = "accept"
        return reply


async def _form(
    request: Request,
    form: Annotated[Literal["json", "csv"] | None, Query(alias="format", description="Instead of `Accept`.")] = None,
    accept: Annotated[str, Header(max_length=1_000, include_in_schema=False)] = "",
) -> Form:
    return Form(form == "csv" if form is not None else _prefers_csv(accept), str(request.url))


def _prefers_csv(accept: str) -> bool:
    """Tell whether ``Accept`` (RFC 9110 §12.5.1) gives text/csv more weight than JSON; without a word, JSON it is."""
    weights = {"text/csv": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = [word.strip() for word in part.split(";")]
        given = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        if kind in weights:
            weights[kind] = float(given) if given.replace(".", "", 1).isdecimal() and given.isascii() else 0.0
    return weights["text/csv"] > weights["application/json"]


ReportForm = Annotated[Form, Depends(_form)]
"""JSON, or CSV for ``?format=csv`` or ``Accept: text/csv``."""
