"""The authorization endpoint, the login page and the authorization code (RFC 6749, RFC 7636, OpenID Connect Core)."""

import sqlite3
import time
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from tests.sandbox.authentik.browser import (
    CALLBACK,
    CHALLENGE,
    VERIFIER,
    Browser,
    Inputs,
    introspected,
    query_of,
    redeem,
)
from tests.sandbox.authentik.process import MEMBER, TOKEN, StandIn, header_of, verified_claims


def refused(answer: httpx.Response, code: str = "invalid_grant") -> bool:
    return (answer.status_code, answer.json().get("error")) == (400, code)


def test_a_person_signs_in_and_comes_back_with_code_and_state(authentik: StandIn) -> None:
    back = Browser(authentik).sign_in(MEMBER)
    assert back.headers["location"].startswith(f"{CALLBACK}?")
    query = query_of(back)
    assert query.keys() == {"code", "state"}
    assert query["state"] == "state-of-the-client"


def test_the_code_is_worth_tokens_about_that_person(authentik: StandIn) -> None:
    began = int(time.time())
    tokens = Browser(authentik).tokens(MEMBER)
    assert tokens.keys() == {"access_token", "id_token", "refresh_token", "token_type", "scope", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 300)
    assert tokens["scope"] == "openid profile email offline_access"
    jwks = authentik.jwks("dezky-portal")
    identity = verified_claims(tokens["id_token"], jwks)
    assert header_of(tokens["id_token"])["alg"] == "RS256"
    assert identity["nonce"] == "nonce-of-the-client"
    assert identity["iss"] == f"{authentik.url}/application/o/dezky-portal/"
    assert identity["aud"] == "dezky-portal"
    assert identity["amr"] == ["pwd"]
    assert began <= identity["auth_time"] <= identity["iat"] <= time.time()
    assert identity["exp"] == identity["iat"] + 300
    assert (identity["email"], identity["preferred_username"]) == (MEMBER["email"], MEMBER["username"])
    assert identity["groups"] == ["everybody"]
    access = verified_claims(tokens["access_token"], jwks)
    assert access["sub"] == identity["sub"] == authentik.claims("dezky-portal", MEMBER)["sub"]
    assert access["scope"] == tokens["scope"]
    assert "." not in tokens["refresh_token"]


def test_without_offline_access_there_is_no_refresh_token(authentik: StandIn) -> None:
    assert "refresh_token" not in Browser(authentik).tokens(MEMBER, scope="openid profile")


def test_a_session_spares_the_next_sign_in(authentik: StandIn) -> None:
    browser = Browser(authentik)
    browser.sign_in(MEMBER)
    again = browser.authorize(state="second")
    assert query_of(again)["state"] == "second"
    assert redeem(authentik, query_of(again)["code"]).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "https://evil.example/callback",
        f"{CALLBACK}/",
        f"{CALLBACK}?a=b",
        CALLBACK.upper(),
        CALLBACK.replace("8080", "8081"),
        CALLBACK.removesuffix("callback") + "../portal/callback",
        "http://127.0.0.1:8080/auth/operator/callback",
    ],
)
def test_a_redirect_address_has_to_be_exactly_a_registered_one(authentik: StandIn, redirect_uri: str | None) -> None:
    answer = Browser(authentik).authorize(redirect_uri=redirect_uri)
    assert (answer.status_code, answer.headers.get("location")) == (400, None)


@pytest.mark.parametrize("client_id", [None, "", "unknown"])
def test_an_unknown_client_is_sent_nowhere(authentik: StandIn, client_id: str | None) -> None:
    answer = Browser(authentik).authorize(client_id=client_id)
    assert (answer.status_code, answer.headers.get("location")) == (400, None)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"code_challenge_method": "S512"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://a.example"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_what_else_is_wrong_is_told_to_the_client(
    authentik: StandIn, changes: dict[str, str | None], error: str
) -> None:
    answer = Browser(authentik).authorize(**changes)
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    assert query_of(answer) == {"error": error, "state": "state-of-the-client"}


def test_a_client_may_ask_for_a_fresh_sign_in(authentik: StandIn) -> None:
    browser, jwks = Browser(authentik), authentik.jwks("dezky-portal")
    first = verified_claims(browser.tokens(MEMBER)["id_token"], jwks)
    deadline = time.monotonic() + 5
    while time.time() < first["auth_time"] + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert verified_claims(browser.tokens(MEMBER)["id_token"], jwks)["auth_time"] == first["auth_time"]
    assert query_of(browser.authorize(max_age="0")).keys() == {"next"}
    second = verified_claims(browser.tokens(MEMBER, prompt="login")["id_token"], jwks)
    assert second["auth_time"] > first["auth_time"]
    assert second["sid"] == first["sid"]
    assert query_of(browser.authorize(max_age="3600")).keys() == {"code", "state"}


def test_the_login_page_is_labelled_plain_and_not_cached(authentik: StandIn) -> None:
    browser = Browser(authentik)
    page = browser.http.get(browser.authorize().headers["location"])
    form = Inputs(page.text)
    assert '<html lang="en">' in page.text
    assert form.inputs["username"]["autocomplete"] == "username"
    assert form.inputs["password"]["type"] == "password"
    assert form.inputs["password"]["autocomplete"] == "current-password"
    assert form.labelled == {form.inputs["username"]["id"], form.inputs["password"]["id"]}
    assert "<script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(authentik: StandIn) -> None:
    browser = Browser(authentik)
    login = browser.authorize().headers["location"]
    page = browser.http.get(login)
    csrf = Inputs(page.text).inputs["csrf"]["value"] or ""
    signed = browser.http.post(login, data={"csrf": csrf, **{name: MEMBER[name] for name in ("username", "password")}})
    cookies = [*page.headers.get_list("set-cookie"), *signed.headers.get_list("set-cookie")]
    assert {cookie.partition("=")[0] for cookie in cookies} == {"authentik_csrf", "authentik_session"}
    for cookie in [cookie for cookie in cookies if "Max-Age=0" not in cookie]:
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (MEMBER["username"], "wrong"),
        (MEMBER["username"], MEMBER["appPassword"]),
        (MEMBER["username"].upper(), MEMBER["password"]),
        ("nobody@acme.example", MEMBER["password"]),
        ("akadmin", ""),
    ],
)
def test_every_failed_sign_in_says_the_same(authentik: StandIn, username: str, password: str) -> None:
    browser = Browser(authentik)
    login = browser.authorize().headers["location"]
    answer = browser.submit(login, username=username, password=password)
    assert answer.status_code == 400
    assert "The user name or the password is wrong." in answer.text
    assert Inputs(answer.text).alerts == 1
    assert "authentik_session" not in browser.http.cookies


def test_a_username_is_shown_again_as_text(authentik: StandIn) -> None:
    browser = Browser(authentik)
    login = browser.authorize().headers["location"]
    answer = browser.submit(login, username='"><b>', password="x")
    assert Inputs(answer.text).inputs["username"]["value"] == '"><b>'
    assert "<b>" not in answer.text


@pytest.mark.parametrize("csrf", ["", "of-another-visitor"])
def test_a_form_without_the_visitors_csrf_token_signs_nobody_in(authentik: StandIn, csrf: str) -> None:
    browser = Browser(authentik)
    login = browser.authorize().headers["location"]
    browser.http.get(login)
    fields = {name: MEMBER[name] for name in ("username", "password")}
    assert browser.http.post(login, data={"csrf": csrf, **fields}).status_code == 403
    assert Browser(authentik).http.post(login, data={"csrf": csrf, **fields}).status_code == 403
    assert "authentik_session" not in browser.http.cookies


@pytest.mark.parametrize(
    "place", ["https://evil.example/", "//evil.example/application/o/authorize/?a=b", "/application/o/authorize/"]
)
def test_the_login_page_sends_nobody_elsewhere(authentik: StandIn, place: str) -> None:
    browser = Browser(authentik)
    login = str(httpx.URL("/if/flow/default-authentication-flow/", params={"next": place}))
    answer = browser.submit(login, username=MEMBER["username"], password=MEMBER["password"])
    assert (answer.status_code, answer.headers.get("location")) == (200, None)


def test_signing_in_gives_the_session_another_cookie(authentik: StandIn) -> None:
    browser = Browser(authentik)
    browser.sign_in(MEMBER)
    before = browser.http.cookies["authentik_session"]
    browser.sign_in(MEMBER, prompt="login")
    assert browser.http.cookies["authentik_session"] != before
    stranger = Browser(authentik)
    stranger.http.cookies.set("authentik_session", before)
    assert urlsplit(stranger.authorize().headers["location"]).path == "/if/flow/default-authentication-flow/"


def test_who_is_not_in_the_applications_group_is_turned_away(authentik: StandIn) -> None:
    browser = Browser(authentik)
    answer = browser.sign_in(
        MEMBER, client_id="dezky-operator", redirect_uri="http://127.0.0.1:8080/auth/operator/callback"
    )
    assert (answer.status_code, answer.headers.get("location")) == (403, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "unknown"},
        {"code_verifier": ""},
        {"code_verifier": VERIFIER[:-1] + "j"},
        {"code_verifier": CHALLENGE},
        {"redirect_uri": "http://127.0.0.1:8080/auth/operator/callback"},
        {"redirect_uri": ""},
        {"client_secret": "wrong"},
        {"client_secret": ""},
        {"client_id": "dezky-operator", "client_secret": "secret-of-the-operator-app"},
    ],
)
def test_a_code_is_worth_nothing_without_all_that_belongs_to_it(authentik: StandIn, changes: dict[str, str]) -> None:
    code = Browser(authentik).code(MEMBER)
    assert refused(redeem(authentik, code, **{"code": code} | changes))
    assert redeem(authentik, code).status_code == 200


def test_plain_pkce_and_none_at_all_are_accepted_but_not_mixed(authentik: StandIn) -> None:
    browser = Browser(authentik)
    plain = browser.code(MEMBER, code_challenge=VERIFIER, code_challenge_method="plain")
    assert redeem(authentik, plain).status_code == 200
    unsaid = browser.code(MEMBER, code_challenge=VERIFIER, code_challenge_method=None)
    assert redeem(authentik, unsaid).status_code == 200
    none = browser.code(MEMBER, code_challenge=None, code_challenge_method=None)
    assert refused(redeem(authentik, none))
    assert redeem(authentik, none, code_verifier="").status_code == 200


def test_the_client_may_authenticate_by_http_basic(authentik: StandIn) -> None:
    form = {
        "grant_type": "authorization_code",
        "code": Browser(authentik).code(MEMBER),
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    assert authentik.http.post(TOKEN, data=form, auth=("dezky-portal", "secret-of-the-portal-app")).status_code == 200


def test_a_second_use_of_a_code_is_refused_and_revokes_what_the_first_was_given(authentik: StandIn) -> None:
    code = Browser(authentik).code(MEMBER)
    tokens = redeem(authentik, code).json()
    assert introspected(authentik, tokens["access_token"])["active"] is True
    assert refused(redeem(authentik, code))
    assert introspected(authentik, tokens["access_token"]) == {"active": False}
    assert introspected(authentik, tokens["refresh_token"]) == {"active": False}


def test_a_code_lives_a_minute(authentik: StandIn) -> None:
    began = time.time()
    code = Browser(authentik).code(MEMBER)
    with closing(sqlite3.connect(authentik.state / "authentik.sqlite3")) as store, store:
        (expires,) = store.execute("SELECT max(expires) FROM codes").fetchone()
        assert began + 60 <= expires <= time.time() + 60
        store.execute("UPDATE codes SET expires = ? WHERE expires = ?", (time.time(), expires))
    assert refused(redeem(authentik, code))
