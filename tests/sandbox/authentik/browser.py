"""A browser without a screen: cookies, forms and redirects of the login page, and the client's side of RFC 7636."""

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.sandbox.authentik.process import TOKEN, StandIn

AUTHORIZE = "/application/o/authorize/"
LOGIN_PAGE = "/if/flow/default-authentication-flow/"
CALLBACK = "http://127.0.0.1:8080/auth/portal/callback"
CLIENT = {"client_id": "dezky-portal", "client_secret": "secret-of-the-portal-app"}
# RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
REQUEST = {
    "client_id": "dezky-portal",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid profile email offline_access",
    "state": "state-of-the-client",
    "nonce": "nonce-of-the-client",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class Inputs(HTMLParser):
    """The input elements of a page by name, and everything that labels one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inputs: dict[str, dict[str, str | None]] = {}
        self.labelled: set[str | None] = set()
        self.alerts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        members = dict(attrs)
        if tag == "input":
            self.inputs[members["name"] or ""] = members
        if tag == "label":
            self.labelled.add(members["for"])
        self.alerts += members.get("role") == "alert"


def query_of(answer: httpx.Response) -> dict[str, str]:
    """The query of the address that the answer sends the browser to."""
    assert answer.status_code == 302, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@dataclass
class Browser:
    instance: StandIn

    def __post_init__(self) -> None:
        self.http = self.instance.client()

    def authorize(self, **changes: str | None) -> httpx.Response:
        """None leaves a parameter out."""
        query = {name: value for name, value in {**REQUEST, **changes}.items() if value is not None}
        return self.http.get(AUTHORIZE, params=query)

    def submit(self, address: str, **fields: str) -> httpx.Response:
        """Opens a page with a form and sends the form."""
        page = self.http.get(address)
        assert page.status_code == 200, page.text
        csrf = Inputs(page.text).inputs["csrf"]["value"] or ""
        return self.http.post(address, data={"csrf": csrf, **fields})

    def sign_in(self, person: dict[str, Any], **changes: str | None) -> httpx.Response:
        """From the client's request to the answer that leads back to the client; a live session is used."""
        asked = self.authorize(**changes)
        assert asked.status_code == 302, asked.text
        if not asked.headers["location"].startswith(LOGIN_PAGE):
            return asked
        username, password = person["username"], person["password"]
        signed = self.submit(asked.headers["location"], username=username, password=password)
        assert signed.status_code == 302, signed.text
        return self.http.get(signed.headers["location"])

    def code(self, person: dict[str, Any], **changes: str | None) -> str:
        return query_of(self.sign_in(person, **changes))["code"]

    def tokens(self, person: dict[str, Any], **changes: str | None) -> dict[str, Any]:
        answer = redeem(self.instance, self.code(person, **changes))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


def redeem(instance: StandIn, code: str, /, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return instance.http.post(TOKEN, data=CLIENT | form | changes)


def refresh(instance: StandIn, token: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return instance.http.post(TOKEN, data=CLIENT | form | changes)


def introspected(instance: StandIn, token: str, **changes: str) -> dict[str, Any]:
    answer = instance.http.post("/application/o/introspect/", data=CLIENT | {"token": token} | changes)
    assert answer.status_code == 200
    facts: dict[str, Any] = answer.json()
    return facts
