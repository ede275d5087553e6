"""Cursors that belong to one query, and versions that guard a change (RFC 8288, RFC 9110)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DomainError, Invalid, render
from shared.etags import ExpectedVersion
from shared.paging import decode_cursor, encode_cursor, link_to

pytestmark = pytest.mark.unit

QUERY = {"status": "active", "q": "ac"}


def forge(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def code_of(refused: pytest.ExceptionInfo[Invalid]) -> tuple[str, str]:
    (error,) = refused.value.errors
    return error.field, error.code


@given(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**53), 2**53)))
def test_a_cursor_carries_the_last_key(key: tuple[str, int]) -> None:
    assert decode_cursor(encode_cursor(key, QUERY), QUERY, (str, int)) == list(key)


def test_no_cursor_is_the_first_page() -> None:
    assert decode_cursor(None, QUERY, (str,)) is None


def test_the_order_of_the_filters_does_not_matter() -> None:
    cursor = encode_cursor(["acme"], QUERY)
    assert decode_cursor(cursor, dict(reversed(QUERY.items())), (str,)) == ["acme"]


@pytest.mark.parametrize("other", [{}, {"status": "active"}, {**QUERY, "status": "suspended"}, {**QUERY, "plan": "x"}])
def test_a_cursor_of_other_filters_is_refused(other: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        decode_cursor(encode_cursor(["acme"], QUERY), other, (str,))
    assert code_of(refused) == ("cursor", "bad_cursor")


OWN = json.loads(base64.urlsafe_b64decode(encode_cursor(["acme"], QUERY) + "=="))["q"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%%%",
        "é",
        "AAAA",
        forge([]),
        forge("k"),
        forge(None),
        forge({}),
        forge({"k": ["acme"]}),
        forge({"k": ["acme"], "q": None}),
        forge({"k": ["acme"], "q": "0" * 16}),
        forge({"k": "a", "q": OWN}),
        forge({"k": {"a": 1}, "q": OWN}),
        forge({"k": [], "q": OWN}),
        forge({"k": 7, "q": OWN}),
        forge({"k": [None], "q": OWN}),
        forge({"k": [{"$gt": ""}], "q": OWN}),
        forge({"k": [["acme"]], "q": OWN}),
        forge({"k": [1], "q": OWN}),
        forge({"k": ["acme", "b"], "q": OWN}),
    ],
)
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode_cursor(cursor, QUERY, (str,))
    assert code_of(refused) == ("cursor", "bad_cursor")


def test_a_whole_number_is_no_truth_value() -> None:
    with pytest.raises(Invalid):
        decode_cursor(forge({"k": [True], "q": OWN}), QUERY, (int,))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    with pytest.raises(Invalid):
        decode_cursor(text, QUERY, (str,))


def test_the_link_leads_to_the_next_page_of_the_same_list() -> None:
    header = link_to("http://inner:1/api/tenants?status=active&cursor=old&q=a%26b&limit=2", "n-e_w")["link"]
    assert header.endswith('>; rel="next"')
    target = urlsplit(header[1 : header.index(">")])
    assert (target.scheme, target.netloc, target.path) == ("", "", "/api/tenants")
    assert parse_qs(target.query) == {"status": ["active"], "q": ["a&b"], "limit": ["2"], "cursor": ["n-e_w"]}


def test_the_last_page_has_no_link() -> None:
    assert link_to("http://inner/api/tenants", None) == {}


async def expected(header: Any) -> Any:
    app = FastAPI()

    @app.exception_handler(DomainError)
    async def refuse(_: Request, error: DomainError) -> Response:
        status, headers, body = render(error, "")
        return Response(body, status, headers)

    @app.get("/")
    async def read(version: ExpectedVersion) -> Any:
        return {"version": version}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inner") as http:
        reply = await http.get("/", headers={} if header is None else {"if-match": header})
    return reply.json()["version"] if reply.status_code == 200 else reply.status_code


@pytest.mark.parametrize(("header", "version"), [(None, None), ("*", None), ('"3"', 3), (' "12" ', 12), ('"0"', 0)])
async def test_the_version_that_the_caller_read_is_expected(header: str | None, version: int | None) -> None:
    assert await expected(header) == version


@pytest.mark.parametrize("header", ["3", '""', '"a"', 'W/"3"', '"3", "4"', '"-1"', '"1.5"', '"', '"\u0663"'.encode()])
async def test_what_is_no_etag_of_ours_is_refused_and_not_ignored(header: Any) -> None:
    assert await expected(header) == 422
