"""Bad input: the field is named, nothing changes, and nothing is worse than a refusal."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx

from shared.mongo import Mongo
from tests.partner.examples import NORDIC, by_operator, create

MEGABYTE = "x" * 1_000_000
WRONG = {
    "no text": (7, True, ["x"], {"$gt": ""}, {"$ne": None}),
    "a control": ("a\x00b", "a\nb", "\u202egnp.exe"),
    "a lone surrogate": ("\ud800",),
    "too much": (MEGABYTE,),
}
TEXTS = [value for values in WRONG.values() for value in values]
DATES = [*TEXTS, "", None, "2026-02-30", "20261201", "2026-W49-2", "2026-12-01T00:00:00Z", "1999-12-31", "2200-01-01"]
DATES += ["2026-12-1", "2026-12-01\n", "\u0662\u0660\u0662\u0667-12-01", 1_780_000_000]
NUMBERS = [None, "1", 1.5, 1.0, True, -1, 10**30, [1], {"$gt": 0}, "NaN"]

FIRST = {"since": "2026-01-01", "marginBps": 1}

FIELDS: dict[str, list[Any]] = {
    "slug": [
        *TEXTS,
        None,
        "",
        "no",
        "Nordic",
        "-nordic",
        "nordic-",
        "nor_dic",
        "n\u043erdic",
        "admin",
        "xn--abc",
        "a" * 41,
    ],
    "name": [*TEXTS, None, "", "   "],
    "domain": [
        *TEXTS,
        *("", "nordic", "nordic.example.", "-a.example", "a..example", "a_b.example", "192.0.2.1", "*.nordic.example"),
        *("a@nordic.example", "https://nordic.example", "a" * 64 + ".example"),
    ],
    "contact": [7, "Nora", [], True],
    "contact.name": [*TEXTS, "", "  "],
    "contact.email": [*TEXTS, "", "nora", "nora@", "@nordic.example", "a b@nordic.example", "nora@localhost"],
    "contact.phone": [
        *TEXTS,
        "",
        "70123456",
        "+0123456789",
        "+45",
        "+45701234567890123",
        "+45 (0)70123456",
        "+\u0664\u066570123456",
    ],
    "contract": [None, 7, "x", []],
    "contract.startsOn": DATES,
    "contract.termMonths": [*NUMBERS, 0, 121],
    "contract.margins": [
        *(None, {}, "x", [], [FIRST, FIRST], [FIRST] * 121),
        *([{**FIRST, "since": "2026-01-02"}], [{**FIRST, "since": "2025-12-31"}]),
    ],
    "contract.margins.0": [None, 7, "x", []],
    "contract.margins.0.since": DATES,
    "contract.margins.0.marginBps": [*NUMBERS, 10_001],
    # Members that nobody may give, or that there are none of.
    "$where": ["1"],
    "id": ["0198c0de-0000-7000-8000-000000000001"],
    "status": ["terminated"],
    "version": [7],
    "customerCount": [7],
    "contact.$set": [{"name": "x"}],
    "contract.currency": ["EUR"],
    "contract.margins.0.until": ["2027-01-01"],
}
UNCHANGEABLE: dict[str, list[Any]] = {
    "slug": ["baltic"],
    "contract.startsOn": ["2026-06-01"],
    "contract.termMonths": [12],
}
CHANGEABLE = [name for name in FIELDS if name not in UNCHANGEABLE]
# To a change they are fine: nothing to change, or said already.
FINE_IN_A_CHANGE: dict[str, list[Any]] = {"contract.margins": [[]], "contract.margins.0.marginBps": [None]}


def with_field(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return ``body`` with one member set; the ways to it are made."""
    made = copy.deepcopy(body)
    node: Any = made
    way: list[Any] = [int(part) if part.isdigit() else part for part in path.split(".")]
    last = way.pop()
    for part in way:
        node = node[part] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return made


def cases(fields: dict[str, list[Any]], body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, with_field(body, path, value)) for path, values in fields.items() for value in values]


async def complaint(client: httpx.AsyncClient, method: str, path: str, field: str, body: dict[str, Any]) -> str | None:
    """Send a bad body; return what is wrong with the answer, if anything."""
    raw = _json(body)
    headers = by_operator(content_type="application/json")
    answer = await client.request(method, path, content=raw, headers=headers)
    named = [error["field"] for error in answer.json().get("errors", [])]
    within = any(name == field or name.startswith(f"{field}.") for name in named)
    if answer.status_code == 422 and within and answer.headers["content-type"] == "application/problem+json":
        return None
    return f"{field}: {raw[:200]!r} -> {answer.status_code} {answer.text[:300]}"


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()  # unlike orjson it writes lone surrogates and numbers of any size


async def test_bad_input_to_a_new_partner_names_the_field_and_changes_nothing(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    wrong = [await complaint(client, "POST", "/api/partners", *case) for case in cases(FIELDS, NORDIC)]
    for path in ("slug", "name", "contract", "contract.startsOn", "contract.termMonths", "contract.margins"):
        body = copy.deepcopy(NORDIC)
        node: Any = body
        *way, last = path.split(".")
        for part in way:
            node = node[part]
        del node[last]
        wrong.append(await complaint(client, "POST", "/api/partners", path, body))
    assert [found for found in wrong if found] == []
    assert await mongo.db["partners"].count_documents({}) == 0
    assert await mongo.db["outbox"].count_documents({}) == 0


async def test_bad_input_to_a_change_names_the_field_and_changes_nothing(
    client: httpx.AsyncClient, mongo: Mongo
) -> None:
    await create(client, NORDIC)
    before = await mongo.db["partners"].find_one({})
    fields = {
        name: [value for value in FIELDS[name] if value not in FINE_IN_A_CHANGE.get(name, [])] for name in CHANGEABLE
    }
    body: dict[str, Any] = {"contract": {"margins": [{"since": "2199-01-01", "marginBps": 1}]}}
    wrong = [
        await complaint(client, "PATCH", "/api/partners/nordic", *case)
        for case in [*cases(fields, body), *cases(UNCHANGEABLE, body)]
    ]
    assert [found for found in wrong if found] == []
    assert await mongo.db["partners"].find_one({}) == before
    assert await mongo.db["outbox"].count_documents({}) == 1


async def test_a_body_that_is_no_object_is_refused(client: httpx.AsyncClient) -> None:
    unreadable = (b"{", b'{"name": }', b"\xff\xfe", b"[" * 100_000)
    expected = [*((raw, 400) for raw in unreadable), *((raw, 422) for raw in (b"", b"null", b"[]", b'"x"', b"7"))]
    for method, path in (("POST", "/api/partners"), ("PATCH", "/api/partners/nordic")):
        for raw, status in expected:
            headers = by_operator(content_type="application/json")
            answer = await client.request(method, path, content=raw, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), raw[:9]


async def test_a_bad_query_names_its_parameter(client: httpx.AsyncClient) -> None:
    for query, field in (
        *(("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("limit=1e2", "limit")),
        *(("status=asleep", "status"), ("status=%00", "status"), ("q=" + "x" * 101, "q")),
        *(("cursor=x", "cursor"), ("cursor=" + "x" * 2_001, "cursor")),
        ("cursor=eyJrIjpbeyIkZ3QiOiIifV0sInEiOiIifQ", "cursor"),  # {"k":[{"$gt":""}],"q":""}
    ):
        answer = await client.get(f"/api/partners?{query}", headers=by_operator())
        assert answer.status_code == 422, query
        assert [error["field"] for error in answer.json()["errors"]] == [field], query


async def test_odd_headers_and_paths_are_refused_and_no_more(client: httpx.AsyncClient) -> None:
    await create(client, NORDIC)
    for tag in ("1", 'W/"1"', '"x"', '"1', '"-1"', '""', '"1", "2"'):
        answer = await client.patch("/api/partners/nordic", json={"name": "x"}, headers=by_operator(if_match=tag))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "If-Match"), tag
    for slug in ("%00", "%24where", "..%2Fnordic", "a" * 5_000, "%F0%9F%98%80", "%FF", "NORDIC", "nordic%20"):
        assert (await client.get(f"/api/partners/{slug}", headers=by_operator())).status_code == 404, slug
    assert (await client.get("/api/partners/nordic", headers=by_operator())).json()["version"] == 1
