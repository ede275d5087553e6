"""Problem documents as RFC 9457 describes them, and the headers that go with them (RFC 9110, RFC 6750)."""

from __future__ import annotations

import json

import pytest

from shared.errors import (
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    Invalid,
    MalformedRequest,
    NotFound,
    RateLimited,
    StaleVersion,
    TooLarge,
    Unauthenticated,
    Unavailable,
    problem,
    render,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (MalformedRequest, 400, "malformed_request"),
        (Unauthenticated, 401, "unauthenticated"),
        (Forbidden, 403, "forbidden"),
        (NotFound, 404, "not_found"),
        (Conflict, 409, "conflict"),
        (StaleVersion, 412, "stale_version"),
        (TooLarge, 413, "too_large"),
        (Invalid, 422, "invalid"),
        (RateLimited, 429, "rate_limited"),
        (Unavailable, 503, "unavailable"),
    ],
)
def test_each_kind_has_its_status_and_a_stable_code(kind: type[DomainError], status: int, code: str) -> None:
    answered, headers, body = render(kind("do this instead"), "r-1")
    document = json.loads(body)
    assert answered == document["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:dezky:problem:{code}"
    assert (document["code"], document["detail"], document["requestId"]) == (code, "do this instead", "r-1")
    assert document["title"]


def test_a_domain_names_its_own_code_and_keeps_the_status_of_the_kind() -> None:
    class SeatLimitReached(Conflict):
        code, title = "seat_limit_reached", "All seats are taken"

    status, _, body = render(SeatLimitReached("buy a seat"), "")
    assert status == 409
    assert json.loads(body) == {
        "type": "urn:dezky:problem:seat_limit_reached",
        "title": "All seats are taken",
        "status": 409,
        "code": "seat_limit_reached",
        "detail": "buy a seat",
    }


def test_fields_that_are_wrong_are_named() -> None:
    _, _, body = render(Invalid.field("billing.contact", "bad_email", "give an address"), "r-1")
    assert json.loads(body)["errors"] == [
        {"field": "billing.contact", "code": "bad_email", "message": "give an address"}
    ]


def test_who_must_wait_is_told_how_long() -> None:
    assert render(Unavailable(retry_after=7), "")[1]["retry-after"] == "7"
    assert render(RateLimited(retry_after=3), "")[1]["retry-after"] == "3"
    assert "retry-after" not in render(NotFound(), "")[1]


def test_who_is_not_authenticated_is_challenged() -> None:
    assert render(Unauthenticated(), "")[1]["www-authenticate"].startswith("Bearer ")


def test_what_has_no_value_is_left_out() -> None:
    assert set(json.loads(problem(404, "not_found", "Nothing"))) == {"type", "title", "status", "code"}


def test_an_unpaired_surrogate_in_a_field_name_is_no_reason_to_fail() -> None:
    body = problem(
        422, "invalid", "Wrong", detail="\ud800", errors=[FieldError("\ud800", "extra", "\udfff is unknown")]
    )
    assert json.loads(body)["errors"][0]["code"] == "extra"
