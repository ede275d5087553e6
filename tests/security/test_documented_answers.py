"""What the running platform answers is what the API document says: in status, code, headers and shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.security.access.samples import Samples
from tests.security.access.table import Operation, Row
from tests.security.access.test_access_table import TABLE, documented
from tests.security.access.world import World
from tests.security.test_bad_input import _who_may
from tests.support.openapi import PROBLEM, Strict, members, operations, resolved, success

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

# Maps by something that only the installation knows: their keys are no members.
_MAPS = {"provisioning", "counts", "amounts", "tenants", "metadata", "changes"}
STALE = {"if-match": '"999999"'}


def built(document: dict[str, Any]) -> Iterator[tuple[Row, Operation, dict[str, Any]]]:
    """Yield the operations of the access table that there are, once each, with what is written of them."""
    found, written = documented(document), dict(operations(document))
    seen = set()
    for row in TABLE:
        for operation in row.operations:
            if operation.key in found and operation.key not in seen:
                seen.add(operation.key)
                yield row, operation, written[found[operation.key]]


def test_what_is_read_has_the_shape_of_its_example(world: World, samples: Samples, document: dict[str, Any]) -> None:
    strict, wrong, read = Strict(document), [], 0
    for row, operation, written in built(document):
        if operation.method != "GET":
            continue
        person, surface = _who_may(row)
        sample = samples.named(operation, row.scope, world.own)
        answer = world.call(person, surface, "GET", sample.path, **sample.arguments())
        if answer.status_code != 200 or "application/json" not in success(written)[1]["content"]:
            continue  # what nobody has made, whose refusal is looked at below; or a stream of lines
        read += 1
        content = success(written)[1]["content"]["application/json"]
        wrong += [f"{operation}: {complaint}" for complaint in strict.complaints(content["schema"], answer.json())]
        wrong += [f"{operation}: {difference}" for difference in _differences(content["example"], answer.json())]
        wrong += [f"{operation}: {fault}" for fault in _headers(written, answer)]
    assert wrong == [], "\n" + "\n".join(wrong)
    assert read > 20


def _differences(example: Any, real: Any) -> Iterator[str]:
    """Yield members that one has and the other has not; below what is empty or null in one, nothing is compared."""
    shown, there = members(example), members(real)
    for path in shown ^ there:
        parent = path.rpartition(".")[0]
        if parent.endswith("[]") or parent in (shown & there) or not parent:
            empty = _values(example, parent) in ([], {}, None) or _values(real, parent) in ([], {}, None)
            if not empty and not _MAPS & set(parent.split(".")):
                yield f"{path} is {'only in the example' if path in shown else 'not in the example'}"


def _values(node: Any, path: str) -> Any:
    """Return what lies at a path of ``members``; None if nothing does."""
    for step in path.replace("[]", ".[]").split(".")[1:]:
        if step == "[]":
            node = node[0] if isinstance(node, list) and node else None
        elif isinstance(node, dict):
            node = node.get(step)
        else:
            return None
    return node


def _headers(written: dict[str, Any], answer: httpx.Response) -> Iterator[str]:
    promised = success(written)[1].get("headers", {})
    if ("ETag" in promised) != ("etag" in answer.headers):
        yield f"ETag promised: {'ETag' in promised}, given: {answer.headers.get('etag')}"
    if "link" in answer.headers and "Link" not in promised:
        yield "a Link that is not documented"


def test_a_refusal_has_a_documented_status_and_code(world: World, samples: Samples, document: dict[str, Any]) -> None:
    wrong = []
    for row, operation, written in built(document):
        sample = samples.named(operation, row.scope, world.own)
        missing = samples.named(operation, row.scope, world.missing)
        person, surface = _who_may(row)
        asked = [
            world.call(None, surface, sample.method, sample.path, **sample.arguments()),
            world.call("bad token", surface, sample.method, sample.path, **sample.arguments()),
        ]
        asked += [
            world.call(low, "portal", sample.method, sample.path, **sample.arguments())
            for low in ("tenant member", "partner staff")
            if row.cells[low].status is not None
        ]
        if "{" in operation.path:
            # A flag or a price is nobody's place: the sample would name the one that other tests need.
            nowhere = missing.path.replace(world.flag, "no_such_flag").replace(world.price, "0" * 36)
            assert nowhere != sample.path or not sample.certain  # what is not certain names nothing that exists
            asked.append(world.call(person, surface, missing.method, nowhere, **missing.arguments()))
        if any(parameter["name"] == "if-match" for parameter in written.get("parameters", [])):
            asked.append(world.call(person, surface, sample.method, sample.path, headers=STALE, **sample.arguments()))
        if "requestBody" in written:
            json_type = {"content-type": "application/json"}
            asked.append(world.call(person, surface, sample.method, sample.path, content=b"{", headers=json_type))
            asked.append(world.call(person, surface, sample.method, sample.path, content=b"[]", headers=json_type))
        wrong += [fault for answer in asked if (fault := _undocumented(document, operation, written, answer))]
    assert wrong == [], "\n" + "\n".join(wrong)


def _undocumented(
    document: dict[str, Any], operation: Operation, written: dict[str, Any], answer: httpx.Response
) -> str:
    if answer.is_success:
        return "" if str(answer.status_code) in written["responses"] else f"{operation}: {answer.status_code}"
    found = written["responses"].get(str(answer.status_code))
    examples = resolved(document, found).get("content", {}).get(PROBLEM, {}).get("examples", {}) if found else {}
    code = answer.json().get("code")
    return "" if code in examples else f"{operation}: {answer.status_code} {code} is not documented"
