"""`/core/tokens/`, `/events/events/`, `/flows/instances/` and `/core/brands/`."""

from typing import Any

import pytest

from tests.sandbox.authentik.browser import Browser
from tests.sandbox.authentik.process import MEMBER, StandIn


def new_token(authentik: StandIn, identifier: str, **members: Any) -> dict[str, Any]:
    answer = authentik.api("POST", "/core/tokens/", {"identifier": identifier, **members})
    assert answer.status_code == 201, answer.text
    token: dict[str, Any] = answer.json()
    return token


def events(authentik: StandIn, **query: Any) -> list[tuple[str, Any]]:
    """Action and username of what happened, newest first."""
    return [(event["action"], event["user"]["username"]) for event in authentik.results("/events/events/", **query)]


def test_an_app_password_opens_the_token_endpoint_with_the_key_that_was_set(authentik: StandIn) -> None:
    user = authentik.new_user("with-app-password")
    token = new_token(authentik, "demo", intent="app_password", user=user["pk"], expiring=False)
    assert (token["user"], token["intent"], token["expires"]) == (user["pk"], "app_password", None)
    generated = authentik.api("GET", "/core/tokens/demo/view_key/").json()
    person = {"username": "with-app-password", "appPassword": generated["key"]}
    assert authentik.token("dezky-portal", person).status_code == 200

    answer = authentik.api("POST", "/core/tokens/demo/set_key/", {"key": "chosen-key"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert authentik.api("GET", "/core/tokens/demo/view_key/").json() == {"key": "chosen-key"}
    assert authentik.token("dezky-portal", person).status_code == 400
    assert authentik.token("dezky-portal", person | {"appPassword": "chosen-key"}).status_code == 200

    assert authentik.api("DELETE", "/core/tokens/demo/").status_code == 204
    assert authentik.token("dezky-portal", person | {"appPassword": "chosen-key"}).status_code == 400


def test_an_expired_token_opens_nothing(authentik: StandIn) -> None:
    user = authentik.new_user("too-late")
    for intent in ("app_password", "api"):
        new_token(authentik, f"late-{intent}", intent=intent, user=user["pk"], expires="2020-01-01T00:00:00Z")
        authentik.api("POST", f"/core/tokens/late-{intent}/set_key/", {"key": f"late-{intent}"})
    person = {"username": "too-late", "appPassword": "late-app_password"}
    assert authentik.token("dezky-portal", person).status_code == 400
    refused = authentik.http.get("/api/v3/core/users/", headers={"Authorization": "Bearer late-api"})
    assert refused.status_code == 403


def test_a_token_of_intent_api_opens_the_api_and_not_the_token_endpoint(authentik: StandIn) -> None:
    user = authentik.new_user("robot")
    token = new_token(authentik, "robot", user=user["pk"])
    assert token["intent"] == "api"
    assert token["expires"] is not None
    key = authentik.api("GET", "/core/tokens/robot/view_key/").json()["key"]
    allowed = authentik.http.get("/api/v3/core/users/me/", headers={"Authorization": f"Bearer {key}"})
    assert allowed.status_code == 200
    assert authentik.token("dezky-portal", {"username": "robot", "appPassword": key}).status_code == 400


def test_a_wrong_token_is_refused(authentik: StandIn) -> None:
    new_token(authentik, "taken")
    cases: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
        ({"identifier": "taken"}, {"identifier": ["This field must be unique."]}),
        ({"identifier": "a b"}, {"identifier": ["Enter a valid value."]}),
        ({"identifier": "x", "intent": "recovery"}, {"intent": ['"recovery" is not a valid choice.']}),
        ({"identifier": "x", "user": 999999}, {"user": ['Invalid pk "999999" - object does not exist.']}),
    ]
    for body, problems in cases:
        answer = authentik.api("POST", "/core/tokens/", body)
        assert (answer.status_code, answer.json()) == (400, problems)
    answer = authentik.api("GET", "/core/tokens/unknown/view_key/")
    assert (answer.status_code, answer.json()) == (404, {"detail": "No Token matches the given query."})
    assert [token["identifier"] for token in authentik.results("/core/tokens/", identifier="taken")] == ["taken"]


def test_what_happens_is_in_the_events_newest_first(own: StandIn) -> None:
    own.start()
    user = own.new_user("seen")
    path = f"/core/users/{user['pk']}/"
    own.api("PATCH", path, {"name": "Seen"})
    own.api("POST", f"{path}set_password/", {"password": "secret-of-seen"})
    browser = Browser(own)
    login = browser.authorize().headers["location"]
    browser.submit(login, username="seen", password="wrong-password")
    browser.sign_in({"username": "seen", "password": "secret-of-seen"})
    browser.http.get("/application/o/dezky-portal/end-session/")
    own.api("DELETE", path)
    assert events(own) == [
        ("model_deleted", "akadmin"),
        ("logout", "seen"),
        ("authorize_application", "seen"),
        ("login", "seen"),
        ("login_failed", "AnonymousUser"),
        ("model_updated", "akadmin"),
        ("password_set", "seen"),
        ("model_updated", "akadmin"),
        ("model_created", "akadmin"),
    ]
    assert events(own, ordering="created") == events(own)[::-1]
    assert events(own, action="LOG") == [("logout", "seen"), ("login", "seen"), ("login_failed", "AnonymousUser")]
    assert events(own, actions=["login", "logout"]) == [("logout", "seen"), ("login", "seen")]
    assert len(events(own, username="akadmin")) == 4
    assert len(events(own, context_model_pk=user["pk"], context_model_name="user")) == 4
    assert events(own, context_model_pk=user["pk"], context_model_name="group") == []
    assert events(own, client_ip="127.0.0.2") == []
    # No filter by time: such parameters are ignored like any other unknown one.
    assert len(events(own, created__gt="2999-01-01T00:00:00Z")) == 9

    text = str(own.results("/events/events/"))
    for secret in ("secret-of-seen", "wrong-password", "state-of-the-client"):
        assert secret not in text
    failed = own.results("/events/events/", action="login_failed")[0]
    assert (failed["context"]["username"], failed["client_ip"]) == ("seen", "127.0.0.1")
    assert own.api("GET", f"/events/events/{failed['pk']}/").json() == failed
    assert own.api("DELETE", f"/events/events/{failed['pk']}/").status_code == 405


def test_a_sign_in_with_an_app_password_and_changes_of_a_group_are_events(own: StandIn) -> None:
    own.start()
    own.token("dezky-portal", MEMBER)
    group, user = own.new_group("watched"), own.new_user("watched")
    for _ in range(2):
        own.api("POST", f"/core/groups/{group['pk']}/add_user/", {"pk": user["pk"]})
    about = own.results("/events/events/", context_model_pk=group["pk"])
    assert [event["action"] for event in about] == ["model_updated", "model_created"]
    assert about[0]["context"]["model"]["pk"] == group["pk"].replace("-", "")
    assert events(own, action="login") == [("login", MEMBER["username"])]


def test_a_fresh_install_has_its_flows_and_none_for_recovery(own: StandIn) -> None:
    own.start()
    slugs = [flow["slug"] for flow in own.results("/flows/instances/")]
    assert "default-authentication-flow" in slugs
    assert own.results("/flows/instances/", designation="recovery") == []
    (brand,) = own.results("/core/brands/")
    assert (brand["default"], brand["flow_recovery"]) == (True, None)
    assert own.results("/flows/instances/", slug="default-authentication-flow")[0]["pk"] == brand["flow_authentication"]


def test_a_brand_takes_only_a_flow_that_exists(authentik: StandIn) -> None:
    (brand,) = authentik.results("/core/brands/")
    path = f"/core/brands/{brand['brand_uuid']}/"
    unknown = "00000000-0000-4000-8000-000000000000"
    answer = authentik.api("PATCH", path, {"flow_recovery": unknown})
    said = f'Invalid pk "{unknown}" - object does not exist.'
    assert (answer.status_code, answer.json()) == (400, {"flow_recovery": [said]})
    assert authentik.api("PATCH", path, {"flow_recovery": None}).json() == brand


@pytest.mark.parametrize("path", ["/flows/instances/unknown/", "/core/brands/x/", "/events/events/x/"])
def test_what_is_unknown_is_not_found(authentik: StandIn, path: str) -> None:
    assert authentik.api("GET", path).status_code == 404
