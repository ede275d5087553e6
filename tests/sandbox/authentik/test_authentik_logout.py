"""Sign-out, back-channel logout (OpenID Connect Back-Channel Logout 1.0) and what a disabled account loses."""

import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from tests.sandbox.authentik.browser import AUTHORIZE, LOGIN_PAGE, Browser, introspected, query_of, redeem, refresh
from tests.sandbox.authentik.process import DEADLINE_SECONDS, MEMBER, OPERATOR, StandIn, header_of, verified_claims

END = "/application/o/dezky-portal/end-session/"
AFTERWARDS = "http://127.0.0.1:8080/portal?signed=out"


def is_signed_in(browser: Browser) -> bool:
    return not browser.authorize().headers["location"].startswith(LOGIN_PAGE)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signing_out_ends_the_session_and_its_access_tokens(authentik: StandIn, method: str) -> None:
    browser = Browser(authentik)
    tokens = browser.tokens(MEMBER)
    cookie = browser.http.cookies["authentik_session"]
    answer = browser.http.request(method, END)
    assert (answer.status_code, answer.headers.get("location")) == (200, None)
    browser.http.cookies.set("authentik_session", cookie)
    assert not is_signed_in(browser)
    assert introspected(authentik, tokens["access_token"]) == {"active": False}
    assert refresh(authentik, tokens["refresh_token"]).status_code == 200


def test_a_code_that_nobody_fetched_ends_with_its_session(authentik: StandIn) -> None:
    browser = Browser(authentik)
    code = browser.code(MEMBER)
    browser.http.get(END)
    assert redeem(authentik, code).json()["error"] == "invalid_grant"


def test_signing_out_leads_back_to_a_registered_address_with_state(authentik: StandIn) -> None:
    browser = Browser(authentik)
    hint = browser.tokens(MEMBER)["id_token"]
    query = {"id_token_hint": hint, "post_logout_redirect_uri": AFTERWARDS, "state": "a b"}
    answer = browser.http.get(END, params=query)
    assert answer.status_code == 302
    assert answer.headers["location"] == f"{AFTERWARDS}&state=a+b"
    assert not is_signed_in(browser)
    assert browser.http.get(END, params=query).status_code == 302


def test_signing_out_leads_nowhere_else(authentik: StandIn) -> None:
    browser = Browser(authentik)
    hint = browser.tokens(MEMBER)["id_token"]
    operator = Browser(authentik)
    back = "http://127.0.0.1:8080/auth/operator/callback"
    operator.sign_in(OPERATOR, client_id="dezky-operator", redirect_uri=back)
    for query in (
        {"post_logout_redirect_uri": AFTERWARDS},
        {"post_logout_redirect_uri": "https://evil.example/", "id_token_hint": hint},
        {"post_logout_redirect_uri": f"{AFTERWARDS}/", "id_token_hint": hint},
        {"id_token_hint": hint[:-4] + "AAAA"},
        {"id_token_hint": "x"},
    ):
        answer = browser.http.get(END, params=query)
        assert (answer.status_code, answer.headers.get("location")) == (400, None)
    answer = browser.http.get("/application/o/dezky-operator/end-session/", params={"id_token_hint": hint})
    assert answer.status_code == 400
    assert is_signed_in(browser)


def test_signing_out_of_an_unknown_application_is_not_found(authentik: StandIn) -> None:
    assert authentik.get("/application/o/unknown/end-session/").status_code == 404
    assert authentik.get(END.removesuffix("/")).status_code == 404


class Receiver(HTTPServer):
    """A client's back-channel endpoint: answers with `statuses` in turn, then with 200."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses = list(statuses)
        self.posts: queue.Queue[tuple[str, str]] = queue.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/backchannel"

    def token(self) -> str:
        """The logout token of the next post."""
        kind, body = self.posts.get(timeout=DEADLINE_SECONDS)
        assert kind == "application/x-www-form-urlencoded"
        (token,) = parse_qs(body)["logout_token"]
        return token


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:  # the name is http.server's
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.posts.put((self.headers["content-type"], body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is http.server's
        pass


@contextmanager
def listening(*statuses: int) -> Iterator[Receiver]:
    with Receiver(*statuses) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def disable(instance: StandIn, username: str) -> httpx.Response:
    (user,) = instance.results("/core/users/", username=username)
    return instance.api("PATCH", f"/core/users/{user['pk']}/", {"is_active": False})


def test_a_sign_out_is_posted_to_every_application_of_the_session(own: StandIn) -> None:
    with listening() as portal, listening() as operator:
        own.seed["applications"][1]["backchannelLogoutUri"] = portal.url
        own.seed["applications"][0]["backchannelLogoutUri"] = operator.url
        own.start()
        browser = Browser(own)
        identity = verified_claims(browser.tokens(OPERATOR)["id_token"], own.jwks("dezky-portal"))
        back = "http://127.0.0.1:8080/auth/operator/callback"
        assert "code" in query_of(browser.authorize(client_id="dezky-operator", redirect_uri=back))
        bystander = Browser(own)
        bystander.sign_in(MEMBER)

        began = int(time.time())
        browser.http.get(END)
        for slug, receiver in (("dezky-portal", portal), ("dezky-operator", operator)):
            token = receiver.token()
            assert header_of(token)["typ"] == "logout+jwt"
            assert header_of(token)["alg"] == "RS256"
            claims = verified_claims(token, own.jwks(slug))
            assert claims.keys() == {"iss", "sub", "aud", "iat", "exp", "jti", "events", "sid"}
            assert (claims["iss"], claims["aud"]) == (f"{own.url}/application/o/{slug}/", slug)
            assert (claims["sub"], claims["sid"]) == (identity["sub"], identity["sid"])
            assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
            assert began <= claims["iat"] < claims["exp"] <= claims["iat"] + 120
        assert is_signed_in(bystander)
        own.stop()
        assert portal.posts.empty()
        assert operator.posts.empty()


def test_a_disabled_account_loses_sessions_and_tokens_and_its_applications_hear_of_it(own: StandIn) -> None:
    with listening() as portal:
        own.seed["applications"][1]["backchannelLogoutUri"] = portal.url
        own.start()
        browsers = [Browser(own), Browser(own)]
        tokens = [browser.tokens(MEMBER) for browser in browsers]
        sessions = {verified_claims(each["id_token"], own.jwks("dezky-portal"))["sid"] for each in tokens}
        pending = query_of(browsers[0].authorize())["code"]
        other = Browser(own).tokens(OPERATOR)

        assert disable(own, MEMBER["username"]).json()["is_active"] is False
        told = {verified_claims(portal.token(), own.jwks("dezky-portal"))["sid"] for _ in tokens}
        assert told == sessions
        assert refresh(own, tokens[0]["refresh_token"]).json()["error"] == "invalid_grant"
        for each, browser in zip(tokens, browsers, strict=True):
            assert introspected(own, each["access_token"]) == {"active": False}
            assert not is_signed_in(browser)
        assert redeem(own, pending).json()["error"] == "invalid_grant"
        login = browsers[0].authorize().headers["location"]
        assert browsers[0].submit(login, username=MEMBER["username"], password=MEMBER["password"]).status_code == 400
        assert refresh(own, other["refresh_token"]).status_code == 200

        (user,) = own.results("/core/users/", username=MEMBER["username"])
        own.api("PATCH", f"/core/users/{user['pk']}/", {"is_active": True})
        # Never tried while the account was disabled, so that only its loss can refuse it now.
        assert refresh(own, tokens[1]["refresh_token"]).json()["error"] == "invalid_grant"
        assert query_of(Browser(own).sign_in(MEMBER))["code"]


def test_a_removed_account_is_signed_out_too(own: StandIn) -> None:
    with listening() as portal:
        own.seed["applications"][1]["backchannelLogoutUri"] = portal.url
        own.start()
        tokens = Browser(own).tokens(MEMBER)
        (user,) = own.results("/core/users/", username=MEMBER["username"])
        assert own.api("DELETE", f"/core/users/{user['pk']}/").status_code == 204
        assert verified_claims(portal.token(), own.jwks("dezky-portal"))["sub"] == user["uid"]
        assert refresh(own, tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_notice_is_repeated_until_it_is_taken_even_across_a_kill(own: StandIn) -> None:
    with listening(500, 503) as portal:
        own.seed["applications"][1]["backchannelLogoutUri"] = portal.url
        own.start()
        browser = Browser(own)
        browser.sign_in(MEMBER)
        browser.http.get(END)
        portal.token()
        own.stop(signal.SIGKILL)
        own.start()
        ids = {verified_claims(portal.token(), own.jwks("dezky-portal"))["jti"] for _ in range(2)}
        assert len(ids) == 2
        own.stop()
        own.start()
        assert own.get(AUTHORIZE).status_code == 400
        assert portal.posts.empty()
