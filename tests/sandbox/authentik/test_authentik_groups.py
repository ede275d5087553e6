"""`/core/groups/`."""

from typing import Any
from uuid import UUID

import pytest

from tests.sandbox.authentik.process import OPERATOR, StandIn

NOBODY = 999_999_999


def members(authentik: StandIn, group: dict[str, Any]) -> list[int]:
    pks: list[int] = authentik.api("GET", f"/core/groups/{group['pk']}/").json()["users"]
    return pks


def test_a_new_group_has_a_uuid_and_a_number(authentik: StandIn) -> None:
    user = authentik.new_user("founder")
    group = authentik.new_group("founded", users=[user["pk"]], attributes={"tenant": "acme"})
    assert str(UUID(group["pk"])) == group["pk"]
    assert type(group["num_pk"]) is int
    assert (group["users"], group["attributes"], group["is_superuser"]) == ([user["pk"]], {"tenant": "acme"}, False)
    assert authentik.api("GET", f"/core/groups/{group['pk']}/").json() == group
    assert authentik.api("GET", f"/core/users/{user['pk']}/").json()["groups"] == [group["pk"]]


def test_a_name_that_is_taken_is_a_400_of_its_field(authentik: StandIn) -> None:
    authentik.new_group("once")
    answer = authentik.api("POST", "/core/groups/", {"name": "once"})
    assert (answer.status_code, answer.json()) == (400, {"name": ["This field must be unique."]})
    other = authentik.new_group("Once")
    answer = authentik.api("PATCH", f"/core/groups/{other['pk']}/", {"name": "once"})
    assert (answer.status_code, answer.json()) == (400, {"name": ["This field must be unique."]})


def test_joining_and_leaving_are_204_and_may_be_repeated(authentik: StandIn) -> None:
    group, user = authentik.new_group("joined"), authentik.new_user("joiner")
    for action, expected in [("add_user", [user["pk"]]), ("remove_user", [])]:
        for _ in range(2):
            answer = authentik.api("POST", f"/core/groups/{group['pk']}/{action}/", {"pk": user["pk"]})
            assert (answer.status_code, answer.content) == (204, b"")
            assert members(authentik, group) == expected
        assert authentik.api("POST", f"/core/groups/{group['pk']}/{action}/", {"pk": NOBODY}).status_code == 404


def test_the_groups_of_a_person_are_names_in_the_token(authentik: StandIn) -> None:
    (user,) = authentik.results("/core/users/", username=OPERATOR["username"])
    group = authentik.new_group("named in the token")
    authentik.api("POST", f"/core/groups/{group['pk']}/add_user/", {"pk": user["pk"]})
    assert "named in the token" in authentik.claims("dezky-operator", OPERATOR, "profile")["groups"]
    authentik.api("DELETE", f"/core/groups/{group['pk']}/")
    assert "named in the token" not in authentik.claims("dezky-operator", OPERATOR, "profile")["groups"]


def test_a_group_is_found_by_its_exact_name(authentik: StandIn) -> None:
    authentik.new_group("Exact")
    assert [group["name"] for group in authentik.results("/core/groups/", name="Exact")] == ["Exact"]
    assert authentik.results("/core/groups/", name="exact") == []
    assert [group["name"] for group in authentik.results("/core/groups/", search="exact")] == ["Exact"]


@pytest.mark.parametrize("include", ["true", "false"])
def test_members_are_spelt_out_unless_the_caller_says_no(authentik: StandIn, include: str) -> None:
    name = f"large-{include}"
    user = authentik.new_user(name)
    group = authentik.new_group(name, users=[user["pk"]])
    (listed,) = authentik.results("/core/groups/", name=name, include_users=include)
    read = authentik.api("GET", f"/core/groups/{group['pk']}/", include_users=include).json()
    assert listed == read
    assert listed["users"] == [user["pk"]]
    shown = listed["users_obj"]
    assert shown is None if include == "false" else [person["username"] for person in shown] == [name]


def test_a_change_replaces_attributes_and_members_whole(authentik: StandIn) -> None:
    first, second = authentik.new_user("first"), authentik.new_user("second")
    group = authentik.new_group("members", users=[first["pk"]], attributes={"a": 1})
    path = f"/core/groups/{group['pk']}/"
    assert authentik.api("PATCH", path, {"attributes": {"b": 2}}).json()["attributes"] == {"b": 2}
    assert authentik.api("PATCH", path, {"users": [second["pk"]]}).json()["users"] == [second["pk"]]
    assert authentik.api("PATCH", path, {"name": "renamed"}).json()["users"] == [second["pk"]]
    answer = authentik.api("PATCH", path, {"users": [NOBODY]})
    assert answer.json() == {"users": [f'Invalid pk "{NOBODY}" - object does not exist.']}


def test_a_superuser_group_makes_superusers_of_the_groups_below(authentik: StandIn) -> None:
    above = authentik.new_group("above", is_superuser=True)
    below = authentik.new_group("below", parents=[above["pk"]])
    user = authentik.new_user("inheritor", groups=[below["pk"]])
    assert user["is_superuser"] is True
    assert authentik.api("GET", f"/core/groups/{above['pk']}/").json()["children"] == [below["pk"]]
    authentik.api("PATCH", f"/core/groups/{above['pk']}/", {"is_superuser": False})
    assert authentik.api("GET", f"/core/users/{user['pk']}/").json()["is_superuser"] is False


def test_a_removed_group_is_not_found(authentik: StandIn) -> None:
    path = f"/core/groups/{authentik.new_group('gone')['pk']}/"
    assert authentik.api("DELETE", path).status_code == 204
    answer = authentik.api("GET", path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "No Group matches the given query."})
    assert authentik.api("GET", "/core/groups/no-uuid/").status_code == 404
