"""Project spaces: names that repeat, two-step deletion, members, and what outsiders see of them (nothing)."""

from typing import Any

import pytest

from tests.sandbox.ocis.process import BETA, GRAPH, MANAGER, VIEWER, Issuer, Ocis, code, drive_path, root

DRIVES = f"{GRAPH}/drives"


def test_a_space_is_created_with_an_id_that_must_be_encoded(ocis: Ocis) -> None:
    made = ocis.make(DRIVES, {"name": "Mars", "driveType": "project", "description": "Red", "quota": {"total": 1000}})
    assert "$" in made["id"]
    assert "!" in made["id"]
    assert (made["driveType"], made["name"], made["description"]) == ("project", "Mars", "Red")
    assert made["quota"] == {"total": 1000, "used": 0, "remaining": 1000, "state": "normal"}
    assert made["root"]["id"] == made["id"]
    assert made["webUrl"].startswith("https://files.example/f/")
    assert ocis.get(drive_path(made["id"])) == made
    # The original reads the id without the part that names the root, too.
    assert ocis.get(drive_path(made["id"].partition("!")[0])) == made


def test_names_repeat(ocis: Ocis) -> None:
    first, second = ocis.drive("Twin"), ocis.drive("Twin")
    assert first != second
    listed = ocis.get(f"{DRIVES}?$filter=driveType eq 'project'")["value"]
    assert {first, second} <= {drive["id"] for drive in listed if drive["name"] == "Twin"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a/b"},
        {"name": "X", "driveType": "personal"},
        {"name": "X", "quota": {"total": -1}},
        {"name": "X", "quota": {"total": "1000"}},
        {"name": "X", "quota": {"total": 1, "used": 1}},
        {"name": "X", "surprise": True},
    ],
)
def test_a_wrong_space_is_an_invalid_request(ocis: Ocis, body: dict[str, Any]) -> None:
    before = len(ocis.get(DRIVES)["value"])
    assert code(ocis.send("POST", DRIVES, body)) == (400, "invalidRequest")
    assert len(ocis.get(DRIVES)["value"]) == before


def test_quota_and_name_change(ocis: Ocis) -> None:
    path = drive_path(ocis.drive("Venus"))
    answer = ocis.send("PATCH", path, {"quota": {"total": 5368709120}})
    assert (answer.status_code, answer.json()["quota"]["total"]) == (200, 5368709120)
    assert ocis.send("PATCH", path, {"name": "Vesta"}).json()["name"] == "Vesta"
    assert ocis.get(path)["quota"]["total"] == 5368709120
    assert code(ocis.send("PATCH", path, {"surprise": 1})) == (400, "invalidRequest")


def test_a_space_is_disabled_restored_and_at_last_purged(ocis: Ocis) -> None:
    path = drive_path(ocis.drive("Pluto"))
    purge = {"Purge": "T"}
    assert code(ocis.send("DELETE", path, headers=purge)) == (400, "invalidRequest")
    assert ocis.send("DELETE", path).status_code == 204
    disabled = ocis.get(path)
    assert disabled["root"]["deleted"] == {"state": "trashed"}
    assert disabled["quota"] == {"total": 0}
    restored = ocis.send("PATCH", path, {}, headers={"restore": "true"})
    assert restored.status_code == 200
    assert "deleted" not in restored.json()["root"]
    assert ocis.send("DELETE", path).status_code == 204
    assert "deleted" in ocis.send("PATCH", path, {}).json()["root"]
    assert ocis.send("DELETE", path, headers=purge).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert code(ocis.send(method, path, {} if method == "PATCH" else None)) == (404, "itemNotFound")


def test_members_are_invited_listed_and_removed(ocis: Ocis) -> None:
    drive, user, group = ocis.drive("Shared"), ocis.user("feynman"), ocis.group("shared with")
    answer = ocis.invite(drive, "user", user["id"])
    assert answer.status_code == 200
    [permission] = answer.json()["value"]
    assert permission["roles"] == [VIEWER]
    assert permission["grantedToV2"]["user"]["id"] == user["id"]
    assert permission["grantedToV2"]["user"]["displayName"] == "Feynman"
    assert ocis.invite(drive, "group", group["id"], MANAGER).json()["value"][0]["grantedToV2"].keys() == {"group"}
    assert code(ocis.invite(drive, "user", user["id"])) == (409, "nameAlreadyExists")
    listed = ocis.get(f"{root(drive)}/permissions")
    held = {each["id"] for each in listed["value"]}
    assert permission["id"] in held
    assert len(held) == 3
    roles = {each["id"] for each in listed["@libre.graph.permissions.roles.allowedValues"]}
    assert {VIEWER, MANAGER} <= roles
    path = f"{root(drive)}/permissions/{permission['id']}"
    assert ocis.send("PATCH", path, {"roles": [MANAGER]}).json()["roles"] == [MANAGER]
    assert ocis.send("DELETE", path).status_code == 204
    assert code(ocis.send("DELETE", path)) == (404, "itemNotFound")


def test_the_last_manager_stays(ocis: Ocis) -> None:
    drive = ocis.drive("Led")
    [only] = ocis.get(f"{root(drive)}/permissions")["value"]
    assert only["roles"] == [MANAGER]
    assert code(ocis.send("DELETE", f"{root(drive)}/permissions/{only['id']}")) == (403, "accessDenied")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"roles": []}, (400, "invalidRequest")),
        ({"roles": ["none"]}, (400, "invalidRequest")),
        ({"roles": ["b1e2218d-eef8-4d4c-b82d-0f1a1b48f3b5"]}, (400, "invalidRequest")),
        ({"roles": [VIEWER, MANAGER]}, (400, "invalidRequest")),
        ({"recipients": []}, (400, "invalidRequest")),
        ({"recipients": [{"objectId": "", "@libre.graph.recipient.type": "user"}]}, (400, "invalidRequest")),
        ({"recipients": [{"objectId": "x", "@libre.graph.recipient.type": "guest"}]}, (400, "invalidRequest")),
        ({"recipients": [{"objectId": "nobody"}]}, (404, "itemNotFound")),
        ({"expirationDateTime": "2018-07-15T14:00:00.000Z"}, (400, "invalidRequest")),
    ],
)
def test_a_wrong_invitation_grants_nothing(ocis: Ocis, change: dict[str, Any], expected: tuple[int, str]) -> None:
    drive, user = ocis.drive("Guarded"), ocis.get(f"{GRAPH}/users/admin")
    invitation = {"recipients": [{"objectId": user["id"], "@libre.graph.recipient.type": "user"}], "roles": [VIEWER]}
    assert code(ocis.send("POST", f"{root(drive)}/invite", {**invitation, **change})) == expected
    assert len(ocis.get(f"{root(drive)}/permissions")["value"]) == 1


def test_the_roles_of_spaces_are_among_the_definitions(ocis: Ocis) -> None:
    path = f"{BETA}/roleManagement/permissions/roleDefinitions"
    definitions: Any = ocis.get(path)
    # Rendered as a bare array by every version of the source that was read.
    assert isinstance(definitions, list)
    names = {definition["id"]: definition["displayName"] for definition in definitions}
    assert (names[VIEWER], names[MANAGER]) == ("Can view", "Can manage")
    assert ocis.get(f"{path}/{MANAGER}")["id"] == MANAGER
    assert code(ocis.send("GET", f"{path}/none")) == (404, "itemNotFound")


def test_a_space_of_others_is_as_one_that_does_not_exist(ocis: Ocis, issuer: Issuer) -> None:
    drive = ocis.drive("Secret")
    token = issuer.token("outsider")
    for method, path, body in (
        ("GET", drive_path(drive), None),
        ("PATCH", drive_path(drive), {"name": "Mine"}),
        ("DELETE", drive_path(drive), None),
        ("GET", f"{root(drive)}/permissions", None),
        ("POST", f"{root(drive)}/invite", {"recipients": [{"objectId": "x"}], "roles": [VIEWER]}),
    ):
        assert code(ocis.send(method, path, body, token=token)) == (404, "itemNotFound"), (method, path)
    assert drive not in [each["id"] for each in ocis.get(DRIVES, token)["value"]]
    assert ocis.get(drive_path(drive))["name"] == "Secret"


def test_a_member_sees_the_space_until_it_is_disabled(ocis: Ocis, issuer: Issuer) -> None:
    drive, group = ocis.drive("Team"), ocis.group("team")
    token = issuer.token("teammate")
    user = ocis.get(f"{GRAPH}/me", token)
    assert ocis.invite(drive, "group", group["id"]).status_code == 200
    assert ocis.send("GET", drive_path(drive), token=token).status_code == 404
    link = {"@odata.id": f"{ocis.url}{GRAPH}/users/{user['id']}"}
    assert ocis.send("POST", f"{GRAPH}/groups/{group['id']}/members/$ref", link).status_code == 204
    assert ocis.get(drive_path(drive), token)["id"] == drive
    assert drive in [each["id"] for each in ocis.get(f"{GRAPH}/me/drives", token)["value"]]
    assert code(ocis.send("PATCH", drive_path(drive), {"name": "Mine"}, token=token)) == (403, "accessDenied")
    assert ocis.send("DELETE", drive_path(drive)).status_code == 204
    assert code(ocis.send("GET", drive_path(drive), token=token)) == (404, "itemNotFound")
    assert drive not in [each["id"] for each in ocis.get(f"{GRAPH}/me/drives", token)["value"]]
    assert ocis.send("PATCH", drive_path(drive), {}, headers={"Restore": "T"}).status_code == 200
    assert ocis.get(drive_path(drive), token)["id"] == drive


def test_a_user_manages_neither_people_nor_spaces(ocis: Ocis, issuer: Issuer) -> None:
    token = issuer.token("plain")
    for method, path, body in (
        ("POST", DRIVES, {"name": "Mine"}),
        ("POST", f"{GRAPH}/users", {"displayName": "X", "onPremisesSamAccountName": "x"}),
        ("PATCH", f"{GRAPH}/users/admin", {"accountEnabled": False}),
        ("DELETE", f"{GRAPH}/users/admin", None),
        ("GET", f"{GRAPH}/users", None),
        ("GET", f"{GRAPH}/users/admin", None),
        ("GET", f"{GRAPH}/groups", None),
        ("POST", f"{GRAPH}/groups", {"displayName": "X"}),
    ):
        status, name = code(ocis.send(method, path, body, token=token))
        assert (status, name in ("accessDenied", "notAllowed")) == (403, True), (method, path)


@pytest.mark.parametrize("query", ["$filter=name eq 'X'", "$orderby=quota"])
def test_what_cannot_be_asked_of_drives_is_an_invalid_request(ocis: Ocis, query: str) -> None:
    assert code(ocis.send("GET", f"{DRIVES}?{query}")) == (400, "invalidRequest")
