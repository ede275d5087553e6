"""What all of the administration API has in common: the door, the shape of errors, lists and pages."""

from typing import Any

import httpx
import pytest

from tests.sandbox.authentik.process import StandIn

USERS = "/api/v3/core/users/"


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        (None, "Authentication credentials were not provided."),
        ("Basic YTpi", "Authentication credentials were not provided."),
        ("Bearer wrong", "Token invalid/expired"),
        ("Bearer", "Token invalid/expired"),
    ],
)
@pytest.mark.parametrize("path", [USERS, USERS + "1/", "/api/v3/events/events/", "/api/v3/core/tokens/x/view_key/"])
def test_who_has_no_token_is_refused_with_403(
    authentik: StandIn, authorization: str | None, said: str, path: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = authentik.http.get(path, headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"detail": said})


def test_a_token_is_asked_for_before_anything_else(authentik: StandIn) -> None:
    answers = [authentik.http.put(USERS), authentik.http.post(USERS, content=b"{"), authentik.get(USERS + "999999/")]
    assert [answer.status_code for answer in answers] == [403, 403, 403]


@pytest.mark.parametrize(
    "path", ["/core/users", "/core/users/1", "/core/groups", "/core/tokens", "/events/events", "/core/brands"]
)
def test_a_path_without_its_trailing_slash_is_not_found(authentik: StandIn, path: str) -> None:
    assert authentik.api("GET", path).status_code == 404


def test_a_method_that_a_path_does_not_have_is_405(authentik: StandIn) -> None:
    answer = authentik.api("PUT", "/core/users/")
    assert (answer.status_code, answer.json()) == (405, {"detail": 'Method "PUT" not allowed.'})
    assert authentik.api("POST", "/events/events/", {}).status_code == 405


def post_raw(authentik: StandIn, content: bytes, kind: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {authentik.seed['apiToken']}", "Content-Type": kind}
    return authentik.http.post(USERS, content=content, headers=headers)


def test_only_json_is_read(authentik: StandIn) -> None:
    kind = "application/x-www-form-urlencoded"
    answer = post_raw(authentik, b"username=a&name=b", kind)
    assert (answer.status_code, answer.json()) == (415, {"detail": f'Unsupported media type "{kind}" in request.'})


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"name": NaN}', b'{"name":"\\ud800"}', b"[" * 100_000])
def test_what_is_no_json_is_a_parse_error(authentik: StandIn, content: bytes) -> None:
    answer = post_raw(authentik, content, "application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("JSON parse error - ")


def test_what_is_no_object_is_an_error_of_no_field(authentik: StandIn) -> None:
    answer = authentik.api("POST", "/core/users/", [1])
    said = "Invalid data. Expected a dictionary, but got list."
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [said]})


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ({}, {"username": ["This field is required."], "name": ["This field is required."]}),
        ({"username": " ", "name": ""}, {"username": ["This field may not be blank."]}),
        ({"username": None, "name": ""}, {"username": ["This field may not be null."]}),
        ({"username": {}, "name": ""}, {"username": ["Not a valid string."]}),
        ({"username": "a\x00b", "name": ""}, {"username": ["Null characters are not allowed."]}),
        (
            {"username": "u" * 151, "name": ""},
            {"username": ["Ensure this field has no more than 150 characters."]},
        ),
        ({"username": "u", "name": "", "email": "nobody"}, {"email": ["Enter a valid email address."]}),
        ({"username": "u", "name": "", "path": "/a"}, {"path": ["No leading or trailing slashes allowed."]}),
        ({"username": "u", "name": "", "path": "a/"}, {"path": ["No leading or trailing slashes allowed."]}),
        ({"username": "u", "name": "", "type": "robot"}, {"type": ['"robot" is not a valid choice.']}),
        (
            {"username": "u", "name": "", "type": "internal_service_account"},
            {"type": ["Setting a user to internal service account is not allowed."]},
        ),
        ({"username": "u", "name": "", "is_active": "maybe"}, {"is_active": ["Must be a valid boolean."]}),
        (
            {"username": "u", "name": "", "groups": ["00000000-0000-4000-8000-000000000000"]},
            {"groups": ['Invalid pk "00000000-0000-4000-8000-000000000000" - object does not exist.']},
        ),
    ],
)
def test_a_wrong_member_is_named_with_a_list_of_messages(
    authentik: StandIn, body: dict[str, Any], problems: dict[str, list[str]]
) -> None:
    answer = authentik.api("POST", "/core/users/", body)
    assert (answer.status_code, answer.json()) == (400, problems)


def numbered(authentik: StandIn, **query: Any) -> dict[str, Any]:
    answer = authentik.api("GET", "/core/users/", path="numbered", page_size=3, **query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_a_list_is_paged_by_number_and_ends_with_next_0(own: StandIn) -> None:
    own.start()
    names = [f"numbered-{number}" for number in range(7)]
    for name in names:
        own.new_user(name, path="numbered")
    first, second, third = (numbered(own, page=page) for page in (1, 2, 3))
    assert first.keys() == {"pagination", "results", "autocomplete"}
    assert first["pagination"] == {
        "next": 2,
        "previous": 0,
        "count": 7,
        "current": 1,
        "total_pages": 3,
        "start_index": 1,
        "end_index": 3,
    }
    assert (second["pagination"]["next"], second["pagination"]["previous"]) == (3, 1)
    assert third["pagination"] == first["pagination"] | {
        "next": 0,
        "previous": 2,
        "current": 3,
        "start_index": 7,
        "end_index": 7,
    }
    assert [user["username"] for page in (first, second, third) for user in page["results"]] == names
    assert numbered(own)["pagination"]["current"] == 1
    assert [user["username"] for user in numbered(own, ordering="-username")["results"]] == names[:3:-1]
    assert [user["username"] for user in numbered(own, search="UMBERED-6")["results"]] == names[6:]

    for page in ("4", "0", "-1", "x", "9" * 30):
        answer = own.api("GET", "/core/users/", path="numbered", page_size=3, page=page)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


def test_an_empty_list_has_one_page(authentik: StandIn) -> None:
    answer = authentik.api("GET", "/core/users/", username="nobody at all").json()
    assert answer["results"] == []
    assert answer["pagination"] == {
        "next": 0,
        "previous": 0,
        "count": 0,
        "current": 1,
        "total_pages": 1,
        "start_index": 0,
        "end_index": 0,
    }
