"""The access table, read from docs/access.md, and what it says about a role and an operation.

Nothing here looks at the product: a cell and the order of answers are all that an expectation is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "access.md"

Column = Literal["operator", "partner owner", "partner staff", "tenant admin", "tenant member"]
COLUMNS: tuple[Column, ...] = ("operator", "partner owner", "partner staff", "tenant admin", "tenant member")
Scope = Literal["tenant", "partner", "none"]

_HEAD = ("what", "scope", "operations", *COLUMNS)
_OPERATION = re.compile(r"(later\s+)?`(GET|POST|PUT|PATCH|DELETE) (/[^\s`]*)(?: ([A-Za-z]+))?`")
_CELL = re.compile(r"(?P<yes>yes)|(?P<status>403|404)(?: `(?P<code>[a-z_]+)`)?")
_PUBLIC = "For everybody, without a token"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; with ``member``, a request that changes this member."""

    method: str
    path: str
    member: str | None = None
    later: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What it is found by, whatever its parameters are called."""
        return key_of(self.method, self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" {self.member}" if self.member else "")


@dataclass(frozen=True, slots=True)
class Cell:
    """What a role meets within its scope; no status: it is let through."""

    status: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    section: str
    what: str
    scope: Scope
    operations: tuple[Operation, ...]
    cells: dict[Column, Cell]

    @property
    def operators_only(self) -> bool:
        return all((cell.status is None) == (column == "operator") for column, cell in self.cells.items())


def key_of(method: str, path: str) -> tuple[str, str]:
    """Return method and path with the names of parameters taken out."""
    return method.upper(), re.sub(r"\{[^}]*\}", "{}", path)


def rows(text: str | None = None) -> list[Row]:
    """Return the rows of the document in its order; a table that cannot be read is an error, never skipped."""
    found = []
    for section, block in _sections(text if text is not None else DOCUMENT.read_text(encoding="utf-8")):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if not lines:
            continue
        assert _cells_of(lines[0]) == list(_HEAD), f"{section}: the columns are not {_HEAD}"
        found += [_row(section, _cells_of(line)) for line in lines[2:]]
    assert found, "docs/access.md holds no table"
    return found


def public() -> tuple[Operation, ...]:
    """Return the operations that need no token."""
    blocks = dict(_sections(DOCUMENT.read_text(encoding="utf-8")))
    return tuple(_operations(blocks[_PUBLIC]))


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split("\n## ")[1:]:
        title, _, block = part.partition("\n")
        yield title.strip(), block


def _cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _operations(text: str) -> Iterator[Operation]:
    for later, method, path, member in _OPERATION.findall(text):
        yield Operation(method, path, member or None, bool(later))


def _row(section: str, cells: list[str]) -> Row:
    assert len(cells) == len(_HEAD), f"{section}: {len(cells)} cells in {cells}"
    what, scope, written, *decided = cells
    operations = tuple(_operations(written))
    assert len(operations) == len(written.split("<br>")), f"{section}: unreadable operations in {written!r}"
    assert scope in {"tenant", "partner", "none"}, f"{section}: unknown scope {scope!r}"
    cells_by_column = dict(zip(COLUMNS, map(_cell, decided), strict=True))
    return Row(section, what, scope, operations, cells_by_column)  # type: ignore[arg-type]


def _cell(text: str) -> Cell:
    match = _CELL.fullmatch(text)
    assert match, f"unreadable cell {text!r}"
    if match["yes"]:
        return Cell()
    status = int(match["status"])
    return Cell(status, match["code"] or {403: "insufficient_role", 404: "not_found"}[status])


UNAUTHENTICATED = Cell(401)
OPERATOR_TOKEN_REQUIRED = Cell(403, "operator_token_required")
INSUFFICIENT_ROLE = Cell(403, "insufficient_role")
NOT_FOUND = Cell(404, "not_found")


@dataclass(frozen=True, slots=True)
class Role:
    """A caller of the matrix.

    Attributes:
        column: whose cells hold; None for somebody who is nobody apart from being an operator (on the wrong surface).
        own: whether what the operation names lies within the role's scope.
        operator_surface: of the token; None where there is no good one.
    """

    name: str
    person: str | None
    column: Column | None
    own: bool
    operator_surface: bool | None

    def __str__(self) -> str:
        return self.name


ROLES: tuple[Role, ...] = (
    Role("operator, own or foreign", "operator", "operator", True, True),
    Role("operator, the other partner's", "operator", "operator", False, True),
    *(
        Role(f"{column}, {'own' if own else 'foreign'}", column, column, own, False)
        for column in COLUMNS[1:]
        for own in (True, False)
    ),
    Role("operator with a portal token", "operator", None, False, False),
    Role("partner owner on the operator surface, own", "partner owner", "partner owner", True, True),
    Role("partner owner on the operator surface, foreign", "partner owner", "partner owner", False, True),
    Role("tenant member on the operator surface, own", "tenant member", "tenant member", True, True),
    Role("deactivated person", "deactivated", None, True, None),
    Role("anonymous", None, None, True, None),
    Role("bad token", "bad token", None, True, None),
)


def expected(row: Row, role: Role) -> tuple[Cell, ...]:
    """Return what may be answered; more than one only where the specification leaves it open."""
    if role.operator_surface is None:
        return (UNAUTHENTICATED,)
    if role.column == "operator":
        return (row.cells["operator"],)
    cell = row.cells[role.column or "tenant member"]
    if row.operators_only:
        return _on_operators_ground(row, role, cell)
    outside = row.scope != "none" and not role.own
    return (NOT_FOUND,) if outside else (cell,)


def _on_operators_ground(row: Row, role: Role, cell: Cell) -> tuple[Cell, ...]:
    if not role.operator_surface:
        # A cell of 404 hides the operation from tenants' people; an operator knows it and is told what is missing.
        return (cell,) if cell.status == 404 and role.column else (OPERATOR_TOKEN_REQUIRED,)
    if cell.status == 404:
        return (NOT_FOUND,)
    if row.scope != "none" and not role.own:
        return (NOT_FOUND, INSUFFICIENT_ROLE)
    return (INSUFFICIENT_ROLE,)
