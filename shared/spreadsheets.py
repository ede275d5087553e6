"""CSV (RFC 4180) that is safe to open: CRLF, UTF-8, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | int | None
CSV_TYPE = "text/csv; charset=utf-8; header=present"
# What spreadsheets take for the beginning of a formula (OWASP, «CSV Injection»); also behind leading white space.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_rows(rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return rows in UTF-8: text that looks like a formula gets an apostrophe, numbers stay numbers, None is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def _harmless(cell: Cell) -> str | int:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell
    return "" if cell is None else cell


def preferred(accept: str, kinds: Sequence[str]) -> str:
    """Return which of ``kinds`` the field ``Accept`` (RFC 9110 §12.5.1) gives most weight; without a word, the first.

    Only kinds that are named count: ``*/*`` asks for nothing in particular.
    """
    weights = dict.fromkeys(kinds, 0.0)
    for part in accept.lower().split(","):
        kind, *parameters = [word.strip() for word in part.split(";")]
        given = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        if kind in weights:
            weights[kind] = float(given) if given.replace(".", "", 1).isdecimal() and given.isascii() else 0.0
    return max(kinds, key=lambda kind: weights[kind])
