"""`/core/users/`."""

import json
import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.sandbox.authentik.browser import Browser, query_of
from tests.sandbox.authentik.process import MEMBER, StandIn


def found(authentik: StandIn, **query: Any) -> list[str]:
    return [user["username"] for user in authentik.results("/core/users/", **query)]


def patched(authentik: StandIn, user: dict[str, Any], **members: Any) -> dict[str, Any]:
    answer = authentik.api("PATCH", f"/core/users/{user['pk']}/", members)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def test_a_new_user_has_a_number_a_uuid_and_a_hash(authentik: StandIn) -> None:
    user = authentik.new_user("new@acme.example", name="Nia New", email="nia@acme.example")
    assert type(user["pk"]) is int
    assert str(UUID(user["uuid"])) == user["uuid"]
    assert re.fullmatch(r"[0-9a-f]{64}", user["uid"])
    assert user["is_active"] is True
    assert (user["path"], user["type"], user["groups"], user["attributes"]) == ("users", "internal", [], {})
    assert (user["last_login"], user["is_superuser"]) == (None, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", user["date_joined"])
    assert authentik.api("GET", f"/core/users/{user['pk']}/").json() == user


def test_a_username_that_is_taken_is_a_400_of_its_field(authentik: StandIn) -> None:
    authentik.new_user("twice")
    answer = authentik.api("POST", "/core/users/", {"username": "twice", "name": ""})
    assert (answer.status_code, answer.json()) == (400, {"username": ["This field must be unique."]})
    other = authentik.new_user("thrice")
    answer = authentik.api("PATCH", f"/core/users/{other['pk']}/", {"username": "twice"})
    assert (answer.status_code, answer.json()) == (400, {"username": ["This field must be unique."]})
    assert patched(authentik, other, username="thrice")["username"] == "thrice"


def test_usernames_that_differ_in_case_coexist_and_so_do_equal_addresses(authentik: StandIn) -> None:
    for username in ("Case", "case"):
        authentik.new_user(username, email="shared@acme.example")
    assert sorted(found(authentik, email="shared@acme.example")) == ["Case", "case"]


@pytest.mark.parametrize(
    ("name", "value", "unlike"),
    [
        ("username", "Filtered", "filtered"),
        ("username", "Filtered", "Filter"),
        ("email", "Filtered@acme.example", "filtered@acme.example"),
        ("name", "Fil Tered", "fil tered"),
        ("path", "filters/One", "filters/one"),
        ("path", "filters/One", "filters"),
    ],
)
def test_a_filter_is_exact_case_included(authentik: StandIn, name: str, value: str, unlike: str) -> None:
    if not found(authentik, username="Filtered"):
        authentik.new_user("Filtered", name="Fil Tered", email="Filtered@acme.example", path="filters/One")
    assert found(authentik, **{name: value}) == ["Filtered"]
    assert found(authentik, **{name: unlike}) == []


def test_only_search_is_fuzzy(authentik: StandIn) -> None:
    authentik.new_user("fuzzy", name="Ærlig Ægteskab", email="fuzzy@acme.example")
    assert found(authentik, search="ærlig ACME") == ["fuzzy"]
    assert found(authentik, search="ærlig globex") == []


def test_users_are_found_by_uuid_state_type_and_attributes(authentik: StandIn) -> None:
    user = authentik.new_user("facets", path="facets", type="external", attributes={"tenant": "acme", "seats": 3})
    other = authentik.new_user("facets-2", path="facets", is_active=False, attributes={"tenant": "globex"})
    assert found(authentik, uuid=user["uuid"]) == ["facets"]
    assert found(authentik, uuid=user["uuid"].replace("-", "")) == ["facets"]
    assert found(authentik, path="facets", is_active="false") == ["facets-2"]
    assert found(authentik, path="facets", is_active="true") == ["facets"]
    assert found(authentik, path="facets", type=["external", "service_account"]) == ["facets"]
    assert found(authentik, path="facets", attributes=json.dumps({"tenant": "acme"})) == ["facets"]
    assert found(authentik, path="facets", attributes=json.dumps({"seats": 3})) == ["facets"]
    assert found(authentik, path="facets", attributes=json.dumps({"seats": "3"})) == []
    assert found(authentik, path_startswith="face") == ["facets", "facets-2"]
    assert found(authentik, path="facets", last_updated__gt=user["last_updated"]) == ["facets-2"]
    assert found(authentik, path="facets", last_updated__gt=other["last_updated"]) == []


@pytest.mark.parametrize(
    ("query", "problems"),
    [
        ({"uuid": "x"}, {"uuid": ["Enter a valid UUID."]}),
        ({"type": "x"}, {"type": ["Select a valid choice. x is not one of the available choices."]}),
        (
            {"groups_by_name": "x"},
            {"groups_by_name": ["Select a valid choice. x is not one of the available choices."]},
        ),
        ({"groups_by_pk": "x"}, {"groups_by_pk": ["“x” is not a valid UUID."]}),
        ({"username": "a\x00"}, {"username": ["Null characters are not allowed."]}),
    ],
)
def test_a_wrong_filter_is_a_400(authentik: StandIn, query: dict[str, str], problems: dict[str, list[str]]) -> None:
    answer = authentik.api("GET", "/core/users/", **query)
    assert (answer.status_code, answer.json()) == (400, problems)


def test_users_are_found_by_any_of_several_groups(authentik: StandIn) -> None:
    groups = [authentik.new_group(f"any-{number}") for number in range(3)]
    for number, group in enumerate(groups):
        authentik.new_user(f"any-{number}", groups=[group["pk"]])
    assert found(authentik, groups_by_name=["any-0", "any-2"]) == ["any-0", "any-2"]
    assert found(authentik, groups_by_pk=groups[1]["pk"]) == ["any-1"]


def test_attributes_and_groups_are_replaced_whole(authentik: StandIn) -> None:
    group = authentik.new_group("replaced")
    user = authentik.new_user("replaced", attributes={"a": 1, "b": {"c": 2}}, groups=[group["pk"]])
    changed = patched(authentik, user, attributes={"b": {"d": 3}})
    assert changed["attributes"] == {"b": {"d": 3}}
    assert changed["groups"] == [group["pk"]]
    assert patched(authentik, user, groups=[])["groups"] == []
    assert patched(authentik, user, name="Other")["attributes"] == {"b": {"d": 3}}


def test_a_change_moves_last_updated_and_leaves_the_rest(authentik: StandIn) -> None:
    user = authentik.new_user("changed", name="Before", email="changed@acme.example")
    changed = patched(authentik, user, name="After", surprise=True, pk=1, uuid="x")
    assert changed["last_updated"] > user["last_updated"]
    unlike = {name for name in user if user[name] != changed[name]}
    assert unlike == {"name", "last_updated"}


def test_a_removed_user_is_not_found(authentik: StandIn) -> None:
    user = authentik.new_user("removed")
    path = f"/core/users/{user['pk']}/"
    assert authentik.api("DELETE", path).status_code == 204
    for method in ("GET", "DELETE", "PATCH"):
        answer = authentik.api(method, path, {} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()) == (404, {"detail": "No User matches the given query."})
    assert authentik.new_user("removed")["pk"] > user["pk"]


@pytest.mark.parametrize("pk", ["x", "-1", "1e3", "9" * 40])
def test_a_number_that_is_none_is_not_found(authentik: StandIn, pk: str) -> None:
    assert authentik.api("GET", f"/core/users/{pk}/").status_code == 404


def test_a_password_may_be_anything_and_then_opens_the_login_page(authentik: StandIn) -> None:
    user = authentik.new_user("letter-a")
    answer = authentik.api("POST", f"/core/users/{user['pk']}/set_password/", {"password": "a"})
    assert (answer.status_code, answer.content) == (204, b"")
    code = query_of(Browser(authentik).sign_in({"username": "letter-a", "password": "a"}))["code"]
    assert code
    shown = authentik.api("GET", f"/core/users/{user['pk']}/").json()
    assert shown["password_change_date"] > user["password_change_date"]
    assert shown["last_login"] is not None
    answer = authentik.api("POST", f"/core/users/{user['pk']}/set_password/", {})
    assert (answer.status_code, answer.json()) == (400, {"password": ["This field is required."]})


def recover(instance: StandIn, user: dict[str, Any], body: Any = None) -> httpx.Response:
    return instance.api("POST", f"/core/users/{user['pk']}/recovery/", body)


def test_recovery_is_refused_with_a_string_until_there_is_a_flow(own: StandIn) -> None:
    own.start()
    user = own.new_user("forgetful")
    answer = recover(own, user)
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": "No recovery flow set."})

    own.give_recovery_flow()
    link = recover(own, user, {"token_duration": "hours=1;minutes=30"}).json()
    assert link.keys() == {"link"}
    assert link["link"].startswith(f"{own.url}/if/flow/recovery/?flow_token=")
    assert recover(own, user, {"token_duration": "soon"}).status_code == 400

    newer = recover(own, user).json()["link"]
    assert Browser(own).http.get(link["link"]).status_code == 400
    assert Browser(own).submit(newer, password="chosen").status_code == 200
    assert Browser(own).http.get(newer).status_code == 400
    assert query_of(Browser(own).sign_in({"username": "forgetful", "password": "chosen"}))["code"]


def test_a_recovery_link_of_a_disabled_user_does_not_open(own: StandIn) -> None:
    own.start()
    own.give_recovery_flow()
    user = own.new_user("forgetful")
    before = recover(own, user).json()["link"]
    patched(own, user, is_active=False)
    assert Browser(own).http.get(before).status_code == 400
    assert Browser(own).http.get(recover(own, user).json()["link"]).status_code == 400


def test_changes_outlast_a_kill(own: StandIn) -> None:
    own.start()
    group = own.new_group("kept")
    user = patched(own, own.new_user("kept", groups=[group["pk"]]), attributes={"kept": True})
    own.stop(9)
    own.start()
    assert own.api("GET", f"/core/users/{user['pk']}/").json() == user
    (event, *_) = own.results("/events/events/", ordering="-created")
    assert event["context"]["model"]["pk"] == user["pk"]
    assert own.token("dezky-portal", MEMBER).status_code == 200
