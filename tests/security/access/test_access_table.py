"""Every operation of the API meets every role with what docs/access.md says, and a refusal changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.security.access.samples import Sample, Samples
from tests.security.access.table import COLUMNS, ROLES, Cell, Operation, Role, Row, expected, key_of, public, rows
from tests.security.access.world import World, until

TABLE = rows()
OPEN = [operation for operation in public() if not operation.later]
SECTIONS = list(dict.fromkeys(row.section for row in TABLE))
METHODS = ("get", "put", "post", "delete", "patch")
PROBLEM = "application/problem+json"


def documented(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return the operations of the API document by key, each as it is written there."""
    return {
        key_of(method, path): f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def built(section: str, document: dict[str, Any]) -> Iterator[tuple[Row, Operation]]:
    found = documented(document)
    for row in TABLE:
        if row.section == section:
            yield from ((row, operation) for operation in row.operations if operation.key in found)


@pytest.mark.unit
def test_the_page_names_every_operation_once_and_decides_for_everybody() -> None:
    named = [(*operation.key, operation.member) for row in TABLE for operation in row.operations]
    assert len(named) == len(set(named)), sorted(str(n) for n in named if named.count(n) > 1)
    assert all(set(row.cells) == set(COLUMNS) for row in TABLE)
    refused = [str(operation) for row in TABLE if row.cells["operator"].status for operation in row.operations]
    assert refused == ["POST /api/tenants"]


@pytest.mark.fleet
def test_no_operation_is_missing_from_the_page_and_none_of_its_promises_from_the_api(document: dict[str, Any]) -> None:
    found = documented(document)
    named = [operation for row in TABLE for operation in row.operations]
    covered = {operation.key for operation in (*named, *public())}
    assert sorted(found[key] for key in found.keys() - covered) == [], "add these to a table of docs/access.md"
    absent = [str(operation) for operation in (*named, *public()) if not operation.later and operation.key not in found]
    assert absent == [], "docs/access.md says that these exist"


@pytest.mark.fleet
def test_an_operation_that_is_decided_by_member_has_a_decision_for_every_member(samples: Samples) -> None:
    by_member = [operation for row in TABLE for operation in row.operations if operation.member]
    for key in {operation.key for operation in by_member}:
        decided = {operation.member for operation in by_member if operation.key == key}
        schema = samples.schema_of(*key)
        assert schema is not None
        assert set(schema["properties"]) == decided, f"{key}: add the members to docs/access.md"


@pytest.mark.fleet
@pytest.mark.timeout(300)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_role_meets_what_the_page_says_and_a_refusal_changes_nothing(
    section: str, world: World, samples: Samples, document: dict[str, Any]
) -> None:
    operations = list(built(section, document))
    assert operations or all(operation.later for row in TABLE if row.section == section for operation in row.operations)
    wrong: list[str] = []
    before = world.photograph()
    for row, operation in operations:
        for role in ROLES:
            wrong += _refused(world, samples, row, operation, role)
        if operation.method != "GET":
            after = world.photograph()
            wrong += [f"{operation}: a refusal changed {path}" for path in before if after[path] != before[path]]
            before = after
    for row, operation in operations:
        for role in ROLES:
            wrong += _permitted(world, samples, row, operation, role)
    assert wrong == [], "\n" + "\n".join(wrong)


def _place(world: World, role: Role) -> Any:
    return world.own if role.own else world.foreign


def _refused(world: World, samples: Samples, row: Row, operation: Operation, role: Role) -> Iterator[str]:
    """Yield what is wrong with how a role is refused, if it is to be."""
    cells = expected(row, role)
    if any(cell.status is None for cell in cells):
        return
    sample = samples.named(operation, row.scope, _place(world, role))
    answer = world.as_role(role, sample.method, sample.path, **sample.arguments())
    yield from (f"{operation} as {role}: {problem}" for problem in _problems(answer, cells))
    if world.foreign.word in answer.text and not role.own:
        yield f"{operation} as {role}: the refusal speaks of what is foreign: {answer.text}"
    if 404 in {cell.status for cell in cells} and row.scope != "none":
        nothing = samples.named(operation, row.scope, world.missing)
        other = world.as_role(role, nothing.method, nothing.path, **nothing.arguments())
        if (answer.status_code, _told(answer)) != (other.status_code, _told(other)):
            yield f"{operation} as {role}: what is foreign is told from what is not: {answer.text} {other.text}"
    if sample.body is not None and _decided_before_the_body(row, cells):
        yield from _refused_whatever_is_sent(world, sample, role, operation, cells)


def _decided_before_the_body(row: Row, cells: tuple[Cell, ...]) -> bool:
    return cells[0].status == 401 or row.operators_only or row.scope == "none"


def _refused_whatever_is_sent(
    world: World, sample: Sample, role: Role, operation: Operation, cells: tuple[Cell, ...]
) -> Iterator[str]:
    json_type = {"content-type": "application/json"}
    for name, content in (("broken", b'{"'), ("wrong", b"[]"), ("no", b"")):
        answer = world.as_role(role, sample.method, sample.path, content=content, headers=json_type)
        yield from (f"{operation} as {role} with {name} body: {problem}" for problem in _problems(answer, cells))


def _problems(answer: httpx.Response, cells: tuple[Cell, ...]) -> Iterator[str]:
    wanted = " or ".join(f"{cell.status} {cell.code}".strip() for cell in cells)
    document = answer.json() if answer.content else {}
    code = document.get("code") if isinstance(document, dict) else None
    if not any(answer.status_code == cell.status and code == (cell.code or code) for cell in cells):
        yield f"{answer.status_code} {code} instead of {wanted}"
        return
    if answer.headers["content-type"] != PROBLEM or document.get("requestId") != answer.headers["x-request-id"]:
        yield f"no problem document with its request id: {answer.text}"
    if answer.status_code == 401 and not answer.headers.get("www-authenticate", "").startswith("Bearer "):
        yield "401 without a challenge"


def _told(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "requestId"}


def _permitted(world: World, samples: Samples, row: Row, operation: Operation, role: Role) -> Iterator[str]:
    """Yield what is wrong with how a role is served, if it is to be."""
    if any(cell.status is not None for cell in expected(row, role)):
        return
    sample = samples.permitted(operation, row.scope, role)
    answer = world.as_role(role, sample.method, sample.path, **sample.arguments())
    served = answer.is_success if sample.certain else answer.status_code in {200, 201, 202, 204, 404, 409, 412, 422}
    if not served:
        yield f"{operation} as {role}: {answer.status_code} {answer.text[:300]} instead of an answer"
    if role.column != "operator" and world.foreign.word in answer.text:
        yield f"{operation} as {role}: shows what is foreign: {_around(answer.text, world.foreign.word)}"
    if role.column in {"tenant admin", "tenant member"} and world.own.spare in answer.text:
        yield f"{operation} as {role}: shows another customer of the partner"
    if role.column is None and world.own.word in answer.text:
        yield f"{operation} as {role}: shows something to nobody"


def _around(text: str, word: str) -> str:
    at = text.index(word)
    return text[max(0, at - 80) : at + 80]


@pytest.mark.fleet
@pytest.mark.parametrize("operation", [o for o in OPEN if not o.path.startswith("/webhooks/")], ids=str)
def test_what_is_for_everybody_needs_no_token_and_takes_any(operation: Operation, world: World) -> None:
    for person in (None, "bad token", "tenant member", "deactivated"):
        answer = world.call(person, "portal", operation.method, operation.path)
        assert answer.status_code == 200, (person, answer.text)
        assert world.own.word not in answer.text


@pytest.mark.fleet
@pytest.mark.parametrize("operation", [o for o in OPEN if o.path.startswith("/webhooks/")], ids=str)
def test_no_token_opens_a_webhook_that_wants_a_signature(operation: Operation, world: World) -> None:
    for person in (None, "bad token", "tenant member", "deactivated"):
        answer = world.call(person, "portal", operation.method, operation.path)
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature"), (person, answer.text)
    answer = world.operator(operation.method, operation.path)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature"), answer.text


@pytest.mark.fleet
def test_a_refusal_with_403_is_in_the_log_and_a_hidden_resource_is_not(world: World) -> None:
    refused = world.call("tenant member", "portal", "PATCH", f"/api/tenants/{world.own.tenant}", json={"seats": 1})
    assert refused.status_code == 403
    hidden = world.call("tenant member", "portal", "PATCH", f"/api/tenants/{world.foreign.tenant}", json={"seats": 1})
    assert hidden.status_code == 404
    member = world.emails["tenant member"]

    def entries() -> list[dict[str, Any]]:
        filters = {"actorEmail": member, "outcome": "denied", "limit": "500"}
        listed = world.operator("GET", "/api/audit", params=filters).json()["items"]
        return [e for e in listed if e["resourceName"] == world.own.tenant and "PATCH" in json.dumps(e["metadata"])]

    assert until(entries)
