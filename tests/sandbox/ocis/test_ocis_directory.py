"""Users and groups, as libre-graph-api v1.0.4 and the source of the graph service describe them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.ocis.process import GRAPH, Ocis, code

USERS, GROUPS = f"{GRAPH}/users", f"{GRAPH}/groups"


def test_a_user_is_created_with_201_and_found_by_id_and_name(ocis: Ocis) -> None:
    made = ocis.user("einstein", passwordProfile={"password": "relativity"})
    assert made["accountEnabled"] is True
    assert made["userType"] == "Member"
    for identity in (made["id"], "einstein", "EINSTEIN"):
        assert ocis.get(f"{USERS}/{identity}") == made
    assert code(ocis.send("GET", f"{USERS}/nobody")) == (404, "itemNotFound")


def test_a_name_is_taken_even_by_who_is_disabled(ocis: Ocis) -> None:
    ocis.user("curie", accountEnabled=False)
    for name in ("curie", "Curie"):
        body = {"displayName": "Marie", "onPremisesSamAccountName": name}
        assert code(ocis.send("POST", USERS, body)) == (409, "nameAlreadyExists")


@pytest.mark.parametrize(
    "body",
    [
        {"onPremisesSamAccountName": "x1"},
        {"displayName": "X"},
        {"displayName": "X", "onPremisesSamAccountName": "x1", "id": "own"},
        {"displayName": "X", "onPremisesSamAccountName": "1x"},
        {"displayName": "X", "onPremisesSamAccountName": "-x"},
        {"displayName": "X", "onPremisesSamAccountName": "x1", "mail": "no-address"},
        {"displayName": "X", "onPremisesSamAccountName": "x1", "surprise": 1},
        {"displayName": 1, "onPremisesSamAccountName": "x1"},
        {"displayName": "X", "onPremisesSamAccountName": "x1", "accountEnabled": "true"},
        [],
        "x",
    ],
)
def test_a_wrong_user_is_an_invalid_request(ocis: Ocis, body: Any) -> None:
    assert code(ocis.send("POST", USERS, body)) == (400, "invalidRequest")
    assert ocis.send("GET", f"{USERS}/x1").status_code == 404


@pytest.mark.parametrize("content", [b"", b"{", b"{} {}", b'{"displayName": "\\ud800"}', b"[" * 100_000])
def test_broken_json_is_an_invalid_request(ocis: Ocis, content: bytes) -> None:
    headers = {"Authorization": "Bearer token-of-the-administrator"}
    assert code(ocis.http.post(USERS, content=content, headers=headers)) == (400, "invalidRequest")


def test_a_name_may_begin_with_anything_once_the_check_is_off(own: Callable[..., Ocis]) -> None:
    instance = own(usernameMatch="none")
    instance.start()
    assert instance.user("1st")["onPremisesSamAccountName"] == "1st"


def test_a_change_is_200_and_changes_what_it_names(ocis: Ocis) -> None:
    made = ocis.user("noether")
    answer = ocis.send("PATCH", f"{USERS}/{made['id']}", {"mail": "emmy@acme.example", "accountEnabled": False})
    assert answer.status_code == 200
    assert answer.json() == {**made, "mail": "emmy@acme.example", "accountEnabled": False}
    assert code(ocis.send("PATCH", f"{USERS}/{made['id']}", {"displayName": ""})) == (400, "invalidRequest")
    taken = {"onPremisesSamAccountName": "admin"}
    assert code(ocis.send("PATCH", f"{USERS}/{made['id']}", taken)) == (409, "nameAlreadyExists")
    assert code(ocis.send("PATCH", f"{USERS}/nobody", {})) == (404, "itemNotFound")


def test_a_deleted_user_is_gone_and_oneself_stays(ocis: Ocis) -> None:
    made = ocis.user("bohr")
    group = ocis.group("atoms")
    ocis.send("POST", f"{GROUPS}/{group['id']}/members/$ref", {"@odata.id": f"{ocis.url}{USERS}/{made['id']}"})
    assert ocis.send("DELETE", f"{USERS}/{made['id']}").status_code == 204
    assert code(ocis.send("DELETE", f"{USERS}/{made['id']}")) == (404, "itemNotFound")
    assert ocis.get(f"{GROUPS}/{group['id']}/members") == {"value": []}
    assert code(ocis.send("DELETE", f"{USERS}/admin")) == (403, "notAllowed")


def test_users_are_searched_and_filtered_as_far_as_the_original_goes(ocis: Ocis) -> None:
    ada, alan = ocis.user("lovelace"), ocis.user("turing")
    group = ocis.group("computing")
    ocis.send("POST", f"{GROUPS}/{group['id']}/members/$ref", {"@odata.id": f"{ocis.url}{USERS}/{ada['id']}"})

    def found(**query: str) -> list[str]:
        answer = ocis.http.get(USERS, params=query, headers={"Authorization": "Bearer token-of-the-administrator"})
        assert answer.status_code == 200, answer.text
        return [user["id"] for user in answer.json()["value"]]

    assert found(**{"$search": '"lovel"'}) == [ada["id"]]
    assert found(**{"$filter": f"memberOf/any(m:m/id eq '{group['id']}')"}) == [ada["id"]]
    assert found(**{"$filter": "startswith(displayName,'Turi')"}) == [alan["id"]]
    either = "contains(displayName,'ovelac') or contains(displayName,'uring')"
    assert found(**{"$filter": either, "$orderby": "displayName desc"}) == [alan["id"], ada["id"]]
    assert found(**{"$filter": either.replace(" or ", " and ")}) == []


@pytest.mark.parametrize("query", ["mail eq 'x@y.example'", "displayName eq 'X'", "not (userType eq 'Member')", "x"])
def test_other_filters_are_not_supported(ocis: Ocis, query: str) -> None:
    answer = ocis.http.get(
        USERS, params={"$filter": query}, headers={"Authorization": "Bearer token-of-the-administrator"}
    )
    assert code(answer) == (501, "notSupported")


def test_expanding_shows_groups_drive_and_role(ocis: Ocis) -> None:
    made = ocis.user("hopper")
    shown = ocis.get(f"{USERS}/hopper?$expand=memberOf,drive,appRoleAssignments")
    assert (shown["memberOf"], shown["drive"]) == ([], None)
    assert [role["principalId"] for role in shown["appRoleAssignments"]] == [made["id"]]


def test_a_group_is_created_renamed_and_deleted(ocis: Ocis) -> None:
    made = ocis.group("physics")
    path = f"{GROUPS}/{made['id']}"
    assert code(ocis.send("POST", GROUPS, {"displayName": "physics"})) == (409, "nameAlreadyExists")
    assert code(ocis.send("POST", GROUPS, {"displayName": ""})) == (400, "invalidRequest")
    assert ocis.send("PATCH", path, {"displayName": "physics lovers"}).status_code == 204
    assert ocis.get(path)["displayName"] == "physics lovers"
    assert made["id"] in [group["id"] for group in ocis.get(f"{GROUPS}?$search=lovers")["value"]]
    assert ocis.send("DELETE", path).status_code == 204
    assert code(ocis.send("DELETE", path)) == (404, "itemNotFound")


def test_members_come_by_reference_and_go_by_id(ocis: Ocis) -> None:
    group, user = ocis.group("members"), ocis.user("fermi")
    path = f"{GROUPS}/{group['id']}/members"
    link = {"@odata.id": f"https://files.example{USERS}/{user['id']}"}
    assert [ocis.send("POST", f"{path}/$ref", link).status_code for _ in range(2)] == [204, 204]
    assert [member["id"] for member in ocis.get(path)["value"]] == [user["id"]]
    assert ocis.get(f"{USERS}/fermi?$expand=memberOf")["memberOf"] == [{"id": group["id"], "displayName": "members"}]
    assert ocis.send("DELETE", f"{path}/{user['id']}/$ref").status_code == 204
    assert code(ocis.send("DELETE", f"{path}/{user['id']}/$ref")) == (404, "itemNotFound")
    unknown = {"@odata.id": f"{ocis.url}{USERS}/nobody"}
    assert code(ocis.send("POST", f"{path}/$ref", unknown)) == (404, "itemNotFound")
    assert code(ocis.send("POST", f"{path}/$ref", {"@odata.id": "nonsense"})) == (400, "invalidRequest")
    assert code(ocis.send("POST", f"{GROUPS}/none/members/$ref", link)) == (404, "itemNotFound")
