"""docs/tenant-lifecycle.md, cell by cell: every transition in every state as every role, over HTTP."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from services.tenant.main import build
from services.tenant.settings import TenantSettings
from shared.auth import Person
from shared.contracts.tenant import TenantStatus
from shared.testing import operator, partner_person, tenant_person
from tests.tenant.desk import STATES, Desk, state_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tenant-lifecycle.md"
ROLES = (
    *("operator", "own partner owner", "own partner staff", "own tenant admin", "own member"),
    *("foreign partner", "foreign tenant admin"),
)
CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "Renamed"},
    "seats": {"seats": 12},
    "plan": {"plan": "enterprise"},
    "cycle": {"cycle": "year"},
    "domains": {"domains": []},
    "billing": {"billing": {"company": "Acme A/S"}},
    "suspend": {"reason": "unpaid"},
    "attach": {"partner": "fjord"},
}
AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Transition:
    name: str
    method: str
    path: str
    event: str
    states: dict[str, str]
    roles: dict[str, str]


def _table(section: str, head: tuple[str, ...]) -> list[list[str]]:
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert tuple(lines[0]) == head, f"{section}: the columns are not {head}"
    return lines[2:]


def transitions() -> list[Transition]:
    """Return what the document says; a cell that is missing or cannot be read is an error."""
    by_state = _table("Transitions and states", ("transition", "request", "event", *STATES))
    by_role = {line[0]: line[1:] for line in _table("Transitions and roles", ("transition", *ROLES))}
    assert list(by_role) == [line[0] for line in by_state], "both tables name the same transitions in the same order"
    found = []
    for name, request, event, *cells in by_state:
        method, path = request.strip("`").split(" ")
        states, roles = dict(zip(STATES, cells, strict=True)), dict(zip(ROLES, by_role[name], strict=True))
        for cell in states.values():
            assert cell in {*STATES, "no-op", "as before"} or _refusal(cell), f"{name}: unreadable cell {cell!r}"
        for cell in roles.values():
            assert cell == "yes" or _refusal(cell), f"{name}: unreadable cell {cell!r}"
        found.append(Transition(name, method, path, event.strip("`"), states, roles))
    return found


def _refusal(cell: str) -> tuple[int, str] | None:
    match = re.fullmatch(r"(4\d\d) `([a-z_]+)`", cell)
    return None if match is None else (int(match[1]), match[2])


TABLE = transitions()


@pytest.mark.unit
def test_the_page_knows_every_status_and_leaves_no_cell_out() -> None:
    assert set(get_args(TenantStatus)) == set(STATES) - {"erasing"}
    assert all(set(row.states) == set(STATES) and set(row.roles) == set(ROLES) for row in TABLE)
    assert [cell for row in TABLE for cell in (*row.states.values(), *row.roles.values()) if not cell] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_the_page_names_every_operation_that_changes_a_tenant(desk: Desk) -> None:
    document = build(TenantSettings(**desk.environment)).openapi()
    exist = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
        if method != "get" and path.startswith("/api/tenants/{slug}") and not {"users", "drift"} & {*path.split("/")}
    }
    named = {f"{row.method} {row.path}" for row in TABLE}
    assert exist <= named, "add these to both tables of docs/tenant-lifecycle.md"
    assert named - exist == {"POST /api/partners/{partner}/transfers"}


def _caller(role: str, slug: str) -> Person:
    return {
        "operator": operator(),
        "own partner owner": partner_person("nordic", "owner"),
        "own partner staff": partner_person("nordic", "staff"),
        "own tenant admin": tenant_person(slug, "admin"),
        "own member": tenant_person(slug, "member"),
        "foreign partner": partner_person("fjord", "owner"),
        "foreign tenant admin": tenant_person("elsewhere", "admin"),
    }[role]


class Try:
    """One cell: a transition in a state, as a role, on a tenant of its own."""

    def __init__(self, desk: Desk, row: Transition, state: str, role: str, restores_to: str = "active") -> None:
        self.desk, self.row, self.state, self.role, self.restores_to = desk, row, state, role, restores_to
        self.wrong: list[str] = []

    def _expect(self, seen: object, wanted: object, what: str) -> None:
        if seen != wanted:
            self.wrong.append(f"{self.row.name} in {self.state} as {self.role}: {what} is {seen!r}, not {wanted!r}")

    async def run(self) -> list[str]:
        owner = None if self.row.name == "attach" else "nordic"
        slug = await self.desk.put(self.state, owner, restores_to=self.restores_to)
        before = await self.desk.stored(slug)
        caller = _caller(self.role, slug)
        transfer = await self.desk.ask(slug)
        partner = "nordic" if "own partner" in self.role else "fjord"
        path = self.row.path.format(slug=slug, transfer=transfer, partner=partner)
        body = {"tenant": slug} if self.row.name == "transfer open" else CHANGES.get(self.row.name)
        answer = await self.desk.call(self.row.method, path, body, caller)
        after = await self.desk.stored(slug)
        permitted = self.row.roles[self.role]
        cell = self.row.states[self.state] if permitted == "yes" else permitted
        if (refused := _refusal(cell)) is not None:
            self._expect((answer.status_code, answer.json().get("code")), refused, "the answer")
            self._expect(after, before, "the tenant")
            self._expect(await self._told(slug, transfer, answer), [], "what was told")
        else:
            await self._done(cell, before, after, answer, transfer)
        return self.wrong

    async def _done(
        self, cell: str, before: dict[str, Any], after: dict[str, Any], answer: httpx.Response, transfer: str
    ) -> None:
        wanted = {"no-op": self.state, "as before": self.restores_to}.get(cell, cell)
        told = await self._told(before["slug"], transfer, answer)
        if not answer.is_success:
            self._expect((answer.status_code, answer.json()["code"]), "a success", "the answer")
            return
        self._expect(state_of(after), wanted, "the state")
        if cell == "no-op":
            self._expect(after, before, "the tenant")
            aside = {"reconcile", "transfer open", "transfer refuse"}
            self._expect(told, [self.row.event] if self.row.name in aside else [], "what was told")
            return
        self._expect(after["version"], before["version"] + 1, "the version")
        also = ["tenant.transfer_closed.v1"] if self.row.name == "transfer accept" else []
        self._expect(told, [self.row.event, *also], "what was told")
        if self.row.path.startswith("/api/tenants") and "transfers" not in self.row.path:
            self._expect((answer.json()["status"], answer.json()["version"]), (after["status"], 8), "the view")

    async def _told(self, slug: str, transfer: str, answer: httpx.Response) -> list[str]:
        """Return what was told of the tenant, then of the request for it; a refusal of a known caller is no change."""
        about = [f"tenants/{slug}", f"transfers/{transfer}"]
        if self.row.name == "transfer open" and answer.is_success:
            about.append(f"transfers/{answer.json()['id']}")
        return [event["type"] for aggregate in about for event in await self.desk.told(aggregate)]


def tries(desk: Desk) -> list[Try]:
    """Return one try for every cell; where a deletion is undone, one for every state that it may have begun in."""
    found = []
    for row in TABLE:
        for state in STATES:
            began = ("pending", "active", "suspended") if row.states[state] == "as before" else ("active",)
            found += [Try(desk, row, state, role, before) for role in ROLES for before in began]
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_every_transition_in_every_state_as_every_role_is_answered_as_the_page_says(desk: Desk) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Try) -> list[str]:
        async with gate:
            return await cell.run()

    cells = tries(desk)
    assert len({(cell.row.name, cell.state, cell.role) for cell in cells}) == len(TABLE) * len(STATES) * len(ROLES)
    wrong = [fault for faults in await asyncio.gather(*map(one, cells)) for fault in faults]
    assert wrong == [], "\n" + "\n".join(wrong[:60])
