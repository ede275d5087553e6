"""Refresh tokens, userinfo, introspection and revocation."""

import signal

import httpx
import pytest

from tests.sandbox.authentik.browser import CLIENT, Browser, introspected, refresh
from tests.sandbox.authentik.process import MEMBER, StandIn, verified_claims

OPERATOR_CLIENT = {"client_id": "dezky-operator", "client_secret": "secret-of-the-operator-app"}


def refused(answer: httpx.Response, code: str = "invalid_grant") -> bool:
    return (answer.status_code, answer.json().get("error")) == (400, code)


def userinfo(instance: StandIn, token: str) -> httpx.Response:
    return instance.http.get("/application/o/userinfo/", headers={"Authorization": f"Bearer {token}"})


def revoke(instance: StandIn, token: str, **changes: str) -> httpx.Response:
    return instance.http.post("/application/o/revoke/", data=CLIENT | {"token": token} | changes)


def test_a_refresh_token_works_once_and_leaves_a_successor(authentik: StandIn) -> None:
    first = Browser(authentik).tokens(MEMBER)
    second = refresh(authentik, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert refused(refresh(authentik, first["refresh_token"]))
    third = refresh(authentik, second["refresh_token"])
    assert third.status_code == 200
    (event, *_) = authentik.results("/events/events/", action="suspicious_request")
    assert event["context"]["message"] == "Revoked refresh token was used"

    jwks = authentik.jwks("dezky-portal")
    before, after = (verified_claims(answer["id_token"], jwks) for answer in (first, third.json()))
    for name in ("sub", "sid", "auth_time", "amr", "aud", "iss"):
        assert before[name] == after[name]
    assert third.json()["scope"] == first["scope"]
    assert "nonce" not in after


@pytest.mark.parametrize("changes", [{"client_secret": "wrong"}, {"client_secret": ""}, OPERATOR_CLIENT])
def test_a_refresh_token_is_worth_nothing_to_others_and_stays_good(authentik: StandIn, changes: dict[str, str]) -> None:
    token = Browser(authentik).tokens(MEMBER)["refresh_token"]
    assert refused(refresh(authentik, token, **changes))
    assert refresh(authentik, token).status_code == 200


def test_a_refresh_cannot_widen_the_scope(authentik: StandIn) -> None:
    token = Browser(authentik).tokens(MEMBER, scope="openid offline_access")["refresh_token"]
    assert refused(refresh(authentik, token, scope="openid profile"), "invalid_scope")
    assert refresh(authentik, token, scope="openid").status_code == 200


@pytest.mark.parametrize("token", ["", "unknown"])
def test_an_unknown_refresh_token_is_refused(authentik: StandIn, token: str) -> None:
    assert refused(refresh(authentik, token))


def test_an_access_token_is_no_refresh_token(authentik: StandIn) -> None:
    assert refused(refresh(authentik, Browser(authentik).tokens(MEMBER)["access_token"]))


def test_a_refreshed_token_shows_the_person_as_they_are_now(authentik: StandIn) -> None:
    person = {"username": "renamed@acme.example", "password": "password-of-renamed"}
    user = authentik.new_user(person["username"], name="Before")
    authentik.api("POST", f"/core/users/{user['pk']}/set_password/", {"password": person["password"]})
    tokens = Browser(authentik).tokens(person)
    group = authentik.new_group("joined later")
    authentik.api("PATCH", f"/core/users/{user['pk']}/", {"name": "After", "groups": [group["pk"]]})
    answer = refresh(authentik, tokens["refresh_token"]).json()
    claims = verified_claims(answer["access_token"], authentik.jwks("dezky-portal"))
    assert (claims["name"], claims["groups"]) == ("After", ["joined later"])
    assert userinfo(authentik, answer["access_token"]).json() == {
        "sub": user["uid"],
        "email": "",
        "email_verified": False,
        "name": "After",
        "given_name": "After",
        "preferred_username": person["username"],
        "nickname": person["username"],
        "groups": ["joined later"],
    }


def test_sessions_and_refresh_tokens_outlast_a_kill(own: StandIn) -> None:
    own.start()
    browser = Browser(own)
    tokens = browser.tokens(MEMBER)
    cookie = browser.http.cookies["authentik_session"]
    own.stop(signal.SIGKILL)
    own.start()
    browser = Browser(own)
    browser.http.cookies.set("authentik_session", cookie)
    assert "code=" in browser.authorize().headers["location"]
    assert introspected(own, tokens["access_token"])["active"] is True
    second = refresh(own, tokens["refresh_token"])
    assert second.status_code == 200
    own.stop(signal.SIGKILL)
    own.start()
    assert refused(refresh(own, tokens["refresh_token"]))
    assert refresh(own, second.json()["refresh_token"]).status_code == 200


def test_userinfo_shows_what_the_scopes_open(authentik: StandIn) -> None:
    token = Browser(authentik).tokens(MEMBER, scope="openid email")["access_token"]
    assert userinfo(authentik, token).json().keys() == {"sub", "email", "email_verified"}


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic YTpi"])
def test_userinfo_without_a_good_token_is_401_with_an_empty_body(authentik: StandIn, header: str | None) -> None:
    answer = authentik.http.get("/application/o/userinfo/", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.content) == (401, b"")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_userinfo_needs_the_scope_openid(authentik: StandIn) -> None:
    answer = userinfo(authentik, authentik.token("dezky-portal", MEMBER, scope="profile").json()["access_token"])
    assert (answer.status_code, answer.content) == (403, b"")
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_introspection_repeats_the_claims_to_the_tokens_own_client(authentik: StandIn) -> None:
    tokens = Browser(authentik).tokens(MEMBER)
    access = introspected(authentik, tokens["access_token"])
    claims = verified_claims(tokens["access_token"], authentik.jwks("dezky-portal"))
    assert access == claims | {"active": True, "client_id": "dezky-portal"}
    opaque = introspected(authentik, tokens["refresh_token"])
    assert (opaque["active"], opaque["sub"], opaque["client_id"]) == (True, claims["sub"], "dezky-portal")


@pytest.mark.parametrize("changes", [{"client_secret": "wrong"}, {"client_id": "unknown"}, OPERATOR_CLIENT])
def test_introspection_tells_others_nothing(authentik: StandIn, changes: dict[str, str]) -> None:
    token = Browser(authentik).tokens(MEMBER)["access_token"]
    assert introspected(authentik, token, **changes) == {"active": False}
    assert introspected(authentik, "unknown") == {"active": False}


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_revoked_token_is_worth_nothing(authentik: StandIn, kind: str) -> None:
    tokens = Browser(authentik).tokens(MEMBER)
    assert revoke(authentik, tokens[kind]).status_code == 200
    assert introspected(authentik, tokens[kind]) == {"active": False}
    assert (userinfo(authentik, tokens["access_token"]).status_code == 401) is (kind == "access_token")
    assert refused(refresh(authentik, tokens["refresh_token"])) is (kind == "refresh_token")


def test_revocation_is_for_the_tokens_own_client(authentik: StandIn) -> None:
    token = Browser(authentik).tokens(MEMBER)["refresh_token"]
    assert revoke(authentik, token, **OPERATOR_CLIENT).status_code == 200
    answer = revoke(authentik, token, client_secret="wrong")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert refresh(authentik, token).status_code == 200
    assert revoke(authentik, "unknown").status_code == 200
