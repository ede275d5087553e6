"""Bodies that no client should send, made from the published schemas: refused in good order, and nothing changes.

What must be refused is decided by an independent validator that reads the OpenAPI document, or by the bytes alone;
a body that the document allows is never part of these tests.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.security.access.samples import Sample, Samples
from tests.security.access.table import Operation, Row, key_of, rows
from tests.security.access.test_access_table import documented
from tests.security.access.world import World, until

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

JSON = "application/json"
OF_EVERY_TYPE: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**30, "", "x", [], [None], {}, {"$ne": None}, {"$gt": ""})
HUGE = "9" * 5_000
DEEP = 10_000
Body = dict[str, Any]
Path = tuple[str | int, ...]


def writes() -> list[tuple[Row, Operation]]:
    return [(row, o) for row in rows() for o in row.operations if o.method in {"POST", "PATCH", "PUT"}]


class Subject:
    """One operation that takes a body, and somebody who may send it."""

    def __init__(self, world: World, samples: Samples, row: Row, operation: Operation, schema: dict[str, Any]) -> None:
        self._world = world
        self._person, self._surface = _who_may(row)
        self.sample: Sample = samples.named(operation, row.scope, world.own)
        self.name = f"{operation.method} {operation.path}"
        whole = {**schema, "components": samples.document["components"]}
        self._validator = jsonschema_rs.validator_for(whole)

    @property
    def body(self) -> Body:
        """A body that is right, with every member that the access table knows."""
        assert self.sample.body is not None
        return copy.deepcopy(self.sample.body)

    def add(self, more: Body) -> None:
        """Let the body have more members."""
        assert self.sample.body is not None
        self.sample.body.update(more)

    def allows(self, body: Any) -> bool:
        """Tell whether the document allows a body, as somebody else reads the document."""
        try:
            return bool(self._validator.is_valid(body))
        except ValueError:  # it has no words for such a value
            return False

    def send(self, content: bytes, content_type: str | None = JSON) -> httpx.Response:
        headers = {} if content_type is None else {"content-type": content_type}
        return self._world.call(
            *(self._person, self._surface, self.sample.method, self.sample.path),
            content=content,
            headers=headers,
            params=self.sample.params or None,
        )


def _who_may(row: Row) -> tuple[str, str]:
    if row.cells["operator"].status is None:
        return "operator", "operator"
    return "partner owner", "portal"


def subjects(world: World, samples: Samples, document: dict[str, Any]) -> list[Subject]:
    """Return every operation that takes a body; those that are decided by member once, with all members."""
    found = documented(document)
    taking: dict[tuple[str, str], Subject] = {}
    for row, operation in writes():
        schema = samples.schema_of(operation.method, operation.path) if operation.key in found else None
        if schema is not None and operation.key in taking:
            taking[operation.key].add(samples.named(operation, row.scope, world.own).body or {})
        elif schema is not None:
            taking[operation.key] = Subject(world, samples, row, operation, schema)
    with_body = {
        key_of(method, path)
        for path, item in document["paths"].items()
        for method in ("post", "patch", "put")
        # The bytes of a webhook are read only under a right signature: tests/audit/ingest has its bad ones.
        if "requestBody" in item.get(method, {}) and not path.startswith("/webhooks/")
    }
    assert taking.keys() == with_body, "an operation that takes a body is in no table of docs/access.md"
    return list(taking.values())


def _dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


# -- what is sent


def of_the_wrong_shape(subject: Subject) -> Iterator[tuple[str, bytes]]:
    """Every member in turn with a value of every type; members missing, unknown, or with names that mean something."""
    body = subject.body
    for path in _paths(body):
        for value in OF_EVERY_TYPE:
            yield from _if_refused(subject, f"{path} = {value!r}", _with(body, path, value))
    for name in body:
        yield from _if_refused(subject, f"without {name}", {n: v for n, v in body.items() if n != name})
    for at in [(), *(path for path in _paths(body) if isinstance(_at(body, path), dict))]:
        for name in ("surprise", "$where", "$set", "__proto__", "a.b", "_id", "", "\x00"):
            # Whatever the document says of itself: what is not known is refused, never dropped.
            yield f"{at} has {name!r}", _dumped(_with(body, (*at, name), {"$gt": ""}))
    for whole in OF_EVERY_TYPE:
        yield from _if_refused(subject, f"the whole body is {whole!r}", whole)


def of_hostile_text(subject: Subject) -> Iterator[tuple[str, bytes]]:
    """Every text in turn with what does not belong into one; these hold whether or not a schema could say it."""
    body = subject.body
    for path in _paths(body):
        if isinstance(_at(body, path), str):
            for name, text in (
                ("NUL", "a\x00b"),
                ("escape", "a\x1bb"),
                ("a line end", "name\n"),
                ("right-to-left override", "a\u202eb"),
                ("one million characters", "a" * 1_000_000),
                ("half a pair", "a\ud800b"),
            ):
                yield f"{path} with {name}", _dumped(_with(body, path, text))
    yield "a name that is half a pair", _dumped({**body, "\udfff": 1})


def unreadable(subject: Subject) -> Iterator[tuple[str, bytes]]:
    """Bytes that are no JSON, or that two readers would take for two different things."""
    good = _dumped(subject.body)
    body = subject.body or {"x": 1}  # what may be empty is made to name something twice, too
    member, value = (_dumped(part) for part in next(iter(body.items())))
    twice = b"{" + member + b":" + value + b"," + _dumped(body)[1:]
    yield from (
        ("nothing", b""),
        ("white space", b" \n"),
        ("half of it", good[: len(good) // 2]),
        ("something behind it", good + b"x"),
        ("two of it", good + good),
        ("a comma too many", good[:-1] + b",}"),
        ("single quotes", b"{'x':1}" if good == b"{}" else good.replace(b'"', b"'")),
        ("a comment", b"/* */" + good),
        ("a byte order mark", b"\xef\xbb\xbf" + good),
        ("UTF-16", good.decode().encode("utf-16")),
        ("a byte that is no UTF-8", good[:-1] + b',"x":"\xff"}'),
        ("an overlong slash", good[:-1] + b',"x":"\xc0\xaf"}'),
        ("the same member twice", twice),
        ("NaN", good[:-1] + b',"x":NaN}'),
        ("Infinity", good[:-1] + b',"x":-Infinity}'),
        ("a number beyond a double", good[:-1] + b',"x":1e400}'),
        ("a number of 5,000 digits", good[:-1] + b',"x":' + HUGE.encode() + b"}"),
        ("deep lists", b"[" * DEEP + b"]" * DEEP),
        ("deep objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        ("a deep member", good[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}"),
        ("an endless depth", b"[" * DEEP),
        ("a raw control character", good[:-1] + b',"x":"a\x01"}'),
    )
    for path in _paths(subject.body):
        if type(_at(subject.body, path)) is int:
            marked = _dumped(_with(subject.body, path, "HUGE"))
            for number in (HUGE.encode(), b"1e400", b"-" + HUGE.encode(), b"1e2", b"5.0", b"0x10", b"010", b"NaN"):
                yield f"{path} = {number[:8].decode()}…", marked.replace(b'"HUGE"', number)


OTHER_TYPES = (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json")


def _paths(body: Any, at: Path = ()) -> list[Path]:
    """Return the path of every member of a body, at every depth."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(body, dict):
        inner = list(body.items())
    elif isinstance(body, list):
        inner = list(enumerate(body))
    return [found for key, value in inner for found in [(*at, key), *_paths(value, (*at, key))]]


def _at(body: Any, path: Path) -> Any:
    for key in path:
        body = body[key]
    return body


def _with(body: Body, path: Path, value: Any) -> Any:
    made = copy.deepcopy(body)
    _at(made, path[:-1])[path[-1]] = value
    return made


def _if_refused(subject: Subject, name: str, body: Any) -> Iterator[tuple[str, bytes]]:
    if not subject.allows(body):
        yield name, _dumped(body)


# -- what is answered


def _fault(answer: httpx.Response) -> str:
    """Return what is wrong with a refusal, or nothing."""
    if not 400 <= answer.status_code < 500:
        return f"answered with {answer.status_code}: {answer.text[:200]}"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"no problem document: {answer.headers.get('content-type')}"
    problem = answer.json()
    if not {"type", "title", "status", "code", "requestId"} <= problem.keys():
        return f"members are missing: {sorted(problem)}"
    if (problem["status"], problem["requestId"]) != (answer.status_code, answer.headers["x-request-id"]):
        return "status or request id differ from the answer's"
    if len(answer.content) > 16_384:
        return f"the refusal has {len(answer.content)} bytes"
    return ""


Kind = Callable[[Subject], Iterator[tuple[str, bytes]]]


@pytest.mark.parametrize("kind", [of_the_wrong_shape, of_hostile_text, unreadable], ids=lambda kind: kind.__name__)
def test_a_bad_body_is_refused_as_a_problem_and_changes_nothing(
    kind: Kind, world: World, samples: Samples, document: dict[str, Any]
) -> None:
    wrong = []
    before, head = world.photograph(), _head(world)
    for subject in subjects(world, samples, document):
        sent = 0
        for name, content in kind(subject):
            sent += 1
            if fault := _fault(subject.send(content)):
                wrong.append(f"{subject.name}: {name}: {fault}")
        assert sent
        after = world.photograph()
        wrong += [f"{subject.name}: changed {path}" for path in before if after[path] != before[path]]
        before = after
    wrong += [f"the log says {entry}" for entry in _done_since(world, head)]
    assert wrong == [], "\n" + "\n".join(wrong[:60])


def test_a_body_of_another_type_is_refused(world: World, samples: Samples, document: dict[str, Any]) -> None:
    wrong = []
    for subject in subjects(world, samples, document):
        before = world.photograph()
        faults = {each: _fault(subject.send(_dumped(subject.body), each)) for each in OTHER_TYPES}
        wrong += [f"{subject.name} as {each}: {fault}" for each, fault in faults.items() if fault]
        if world.photograph() != before:
            wrong.append(f"{subject.name}: something changed")
    assert wrong == [], "\n".join(wrong)


def test_a_good_body_is_what_the_bad_ones_are_made_from(
    world: World, samples: Samples, document: dict[str, Any]
) -> None:
    for subject in subjects(world, samples, document):
        assert subject.allows(subject.body), subject.name


def test_a_refusal_names_the_field_that_is_wrong(world: World) -> None:
    path = f"/api/tenants/{world.own.tenant}"
    answer = world.operator("PATCH", path, json={"seats": "many", "billing": {"contact": "nobody"}})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"seats", "billing.contact"}


def test_a_refusal_does_not_repeat_what_was_sent(world: World) -> None:
    secret = "correct-horse-battery-staple"
    for body in ({"name": {"password": secret}}, {"seats": secret}, {"billing": {"contact": secret}}):
        answer = world.operator("PATCH", f"/api/tenants/{world.own.tenant}", json=body)
        assert answer.status_code == 422
        assert secret not in answer.text


def test_nonsense_in_a_query_or_header_is_no_accident(world: World, document: dict[str, Any]) -> None:
    """Every parameter of every operation that reads; what may not be read is refused, never tripped over."""
    wrong = []
    nonsense = ("", "%00", "%ff", "-1", "0", "9" * 400, "1e400", "[$ne]=1", "%F0%9F%92%A9", "a" * 3_000, "true", "null")
    known = {"slug": world.own.tenant, "person": world.own.tenant_person, "key": world.flag, "price_id": world.price}
    known |= {"id": "0" * 36, "verification": "0" * 36, "start_seq": "1"}  # of something that nobody has made
    for path, item in document["paths"].items():
        if "get" not in item or path in {"/health", "/api/audit/verify"}:
            continue
        place = {**known, "slug": world.own.partner} if path.startswith("/api/partners/") else known
        real = path.format(**place)
        for parameter in item["get"].get("parameters", []):
            for value in nonsense:
                if parameter["in"] == "query":
                    answer = world.operator("GET", f"{real}?{parameter['name']}={value}")
                elif parameter["in"] == "header":
                    answer = world.operator("GET", real, headers={parameter["name"]: value})
                else:
                    answer = world.operator("GET", path.format(**{**place, parameter["name"]: value or "x"}))
                if answer.status_code >= 500 or (answer.status_code >= 400 and _fault(answer)):
                    wrong.append(f"{path} {parameter['name']}={value[:20]}: {answer.status_code} {_fault(answer)}")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("name", ["if-match", "idempotency-key"])
def test_nonsense_in_a_conditional_header_changes_nothing(name: str, world: World) -> None:
    path = f"/api/tenants/{world.own.spare}/suspend"
    before = world.photograph()
    values = {
        "if-match": ['"', '"x"', "1", '"9999999999999999999999"', 'W/"1"', '"1","2"', "'1'", '"1', "a" * 3_000, '"²"'],
        "idempotency-key": ["", "a" * 256, "a" * 3_000],
    }
    for value in values[name]:
        headers = {"content-type": JSON, name: value.encode()}
        answer = world.operator("POST", path, content=b'{"reason":"unpaid"}', headers=headers)
        assert _fault(answer) == "", (name, value, answer.text)
    assert world.photograph() == before


# -- the log


def _head(world: World) -> int:
    """Return the newest number in the log, once everything that was done before is in it."""
    marks = (
        ("PATCH", f"/api/tenants/{world.own.tenant}", {"seats": 1}, "tenant member", "portal"),
        ("PATCH", f"/api/partners/{world.own.partner}", {"name": "x"}, "partner owner", "portal"),
        ("PATCH", f"/api/prices/{world.price}", {"amounts": {"EUR": 1}}, "partner owner", "portal"),
        ("PATCH", f"/api/flags/{world.flag}", {"state": "on"}, "partner owner", "portal"),
    )
    newest = _newest(world)
    for method, path, body, person, surface in marks:
        assert world.call(person, surface, method, path, json=body).status_code == 403
    actions = {"tenant.access_denied", "partner.access_denied", "billing.access_denied", "flag.access_denied"}

    def arrived() -> int:
        entries = _since(world, newest)
        seen = {entry["action"] for entry in entries if entry["outcome"] == "denied"}
        return max((entry["seq"] for entry in entries), default=0) if len(seen) >= len(actions) else 0

    return int(until(arrived))


def _newest(world: World) -> int:
    items = world.operator("GET", "/api/audit", params={"limit": "1"}).json()["items"]
    return int(items[0]["seq"]) if items else 0


def _since(world: World, seq: int) -> list[dict[str, Any]]:
    items = world.operator("GET", "/api/audit", params={"limit": "500"}).json()["items"]
    return [item for item in items if item["seq"] > seq]


def _done_since(world: World, head: int) -> list[str]:
    """Return what people did since ``head``, apart from being refused."""
    _head(world)
    entries = _since(world, head)
    return [e["action"] for e in entries if e["outcome"] != "denied" and e["actorType"] == "user"]
