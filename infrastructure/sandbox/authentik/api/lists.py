"""Lists: exact filters, a fuzzy search, an order, and pages that are counted from 1."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from uuid import UUID

from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response

from infrastructure.sandbox.authentik.api.fields import wrong
from infrastructure.sandbox.authentik.api.gate import detail
from infrastructure.sandbox.authentik.moments import written

PAGE_SIZE, PAGE_SIZE_MAX = 20, 100


@dataclass(frozen=True, slots=True)
class Listing:
    """A table as it is listed. `order` names the default and, after it, the columns that a client may ask for.

    A minus sign turns the default round. `unique` settles ties, so that no row is on two pages.
    """

    table: str
    searched: tuple[str, ...]
    order: tuple[str, ...]
    unique: str


class Selection:
    """The conditions of one list. Values are compared exactly, case included."""

    def __init__(self, query: QueryParams) -> None:
        for name, value in query.multi_items():
            if "\x00" in value:
                raise wrong(name, "Null characters are not allowed.")
        self._query = query
        self._conditions: list[str] = []
        self._values: list[object] = []

    def where(self, condition: str, *values: object) -> None:
        self._conditions.append(condition)
        self._values.extend(values)

    def equal(self, *columns: str) -> None:
        """Filters by each column whose name the query has; an empty value is no filter."""
        for column in columns:
            value = self._query.get(column)
            if value:
                self.where(f"{column} = ?", value)

    def true_or_false(self, name: str, condition: str) -> None:
        """`condition` is an expression that is 0 or 1. What is neither true nor false is no filter."""
        value = self._query.get(name, "").lower()
        if value in {"true", "false"}:
            self.where(f"({condition}) = ?", value == "true")

    def uuid(self, column: str) -> None:
        value = self._query.get(column)
        if value:
            try:
                self.where(f"{column} = ?", str(UUID(value)))
            except ValueError:
                raise wrong(column, "Enter a valid UUID.") from None

    def after(self, name: str, column: str) -> None:
        value = self._query.get(name)
        if value:
            try:
                self.where(f"{column} > ?", written(datetime.fromisoformat(value)))
            except ValueError:
                raise wrong(name, "Enter a valid date/time.") from None

    def attributes(self) -> None:
        """`attributes=` a JSON object: each of its members must be there, with that value."""
        value = self._query.get("attributes")
        if not value:
            return
        try:
            wanted = json.loads(value)
        except (ValueError, RecursionError):
            raise wrong("non_field_errors", "filter: failed to parse JSON") from None
        if not isinstance(wanted, dict):
            raise wrong("non_field_errors", "filter: value must be key:value mapping")
        for key, member in wanted.items():
            self.where(
                "EXISTS (SELECT 1 FROM json_each(attributes) AS a, json_each(?) AS w"
                " WHERE a.key = ? AND a.type = w.type AND a.value IS w.value)",
                json.dumps([member]),
                key,
            )

    def page(
        self, store: sqlite3.Connection, listing: Listing, represent: Callable[[sqlite3.Row], dict[str, object]]
    ) -> Response:
        """Raises ApiError 404 for a page past the end."""
        self._search(listing)
        where = f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
        (count,) = store.execute(f"SELECT count(*) FROM {listing.table}{where}", self._values).fetchone()
        size = self._size()
        pages = max(1, ceil(count / size))
        current = self._current(pages)
        rows = store.execute(
            f"SELECT * FROM {listing.table}{where} ORDER BY {self._order(listing)} LIMIT ? OFFSET ?",
            [*self._values, size, (current - 1) * size],
        ).fetchall()
        pagination = {
            "next": current + 1 if current < pages else 0,
            "previous": current - 1,
            "count": count,
            "current": current,
            "total_pages": pages,
            "start_index": (current - 1) * size + 1 if count else 0,
            "end_index": min(current * size, count),
        }
        results = [represent(row) for row in rows]
        return JSONResponse({"pagination": pagination, "results": results, "autocomplete": {}})

    def _search(self, listing: Listing) -> None:
        for term in self._query.get("search", "").replace(",", " ").split():
            folded = term.casefold()
            anywhere = " OR ".join(f"instr(casefold({column}), ?) > 0" for column in listing.searched)
            self.where(f"({anywhere})", *[folded] * len(listing.searched))

    def _order(self, listing: Listing) -> str:
        default, *others = listing.order
        allowed = {default.lstrip("-"), *others}
        asked = [name.strip() for name in self._query.get("ordering", "").split(",")]
        names = [name for name in asked if name.removeprefix("-") in allowed] or [default]
        columns = [f"{name.removeprefix('-')} {'DESC' if name.startswith('-') else 'ASC'}" for name in names]
        # Of two events in the same microsecond the later one is newer.
        return ", ".join([*columns, f"{listing.unique} {'DESC' if names[-1].startswith('-') else 'ASC'}"])

    def _size(self) -> int:
        asked = self._query.get("page_size", "")
        size = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        return min(size, PAGE_SIZE_MAX) if size else PAGE_SIZE

    def _current(self, pages: int) -> int:
        asked = self._query.get("page") or "1"
        if asked == "last":
            return pages
        current = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        if not 1 <= current <= pages:
            raise detail(404, "Invalid page.")
        return current
