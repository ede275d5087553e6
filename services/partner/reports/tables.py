"""Reports as CSV (RFC 4180): a header row, CRLF, and no cell that a spreadsheet would run."""

from __future__ import annotations

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
from shared.spreadsheets import CSV_TYPE, Cell, csv_rows, preferred

_KINDS = ("application/json", "text/csv")


@dataclass(frozen=True, slots=True)
class Table:
    """A report as rows; ``name`` is that of the file."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def as_csv(table: Table) -> bytes:
    """Return the table with its header row."""
    return csv_rows([table.header, *table.rows])


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
                "content-type": CSV_TYPE,
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
    return Form(form == "csv" if form is not None else preferred(accept, _KINDS) == "text/csv", str(request.url))


ReportForm = Annotated[Form, Depends(_form)]
"""JSON, or CSV for ``?format=csv`` or ``Accept: text/csv``."""
