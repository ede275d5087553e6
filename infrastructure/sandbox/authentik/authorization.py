"""The request to the authorization endpoint (RFC 6749 section 4.1.1), parsed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from infrastructure.sandbox.authentik.applications import Application, Applications
from infrastructure.sandbox.authentik.granted import known_scopes

RefusalCode = Literal[
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "request_not_supported",
    "request_uri_not_supported",
    "login_required",
]
CHALLENGE_METHODS = ("plain", "S256")


class BadClient(Exception):
    """Client or redirect address are wrong: the person is told, and nobody is redirected anywhere."""


class Refusal(Exception):
    """The client is told, by redirect, with `error` and its `state`."""

    def __init__(self, code: RefusalCode, redirect_uri: str, state: str) -> None:
        super().__init__(code)
        self.location = with_query(redirect_uri, {"error": code, "state": state})


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What the client asks for. Without a challenge `challenge` is empty; so are `state` and `nonce`."""

    application: Application
    redirect_uri: str
    state: str
    scopes: tuple[str, ...]
    nonce: str
    challenge: str
    challenge_method: str
    prompt: frozenset[str]
    max_age: int | None

    def refusal(self, code: RefusalCode) -> Refusal:
        return Refusal(code, self.redirect_uri, self.state)


def parse(applications: Applications, query: Mapping[str, str]) -> AuthorizationRequest:
    """Raises BadClient or Refusal."""
    application = applications.with_client_id(query.get("client_id", ""))
    if application is None:
        raise BadClient("The client identifier is missing or unknown.")
    redirect_uri, state = query.get("redirect_uri", ""), query.get("state", "")
    if not application.redirects_to(redirect_uri):
        raise BadClient("The redirect address is missing or not one that is registered.")
    code = _problem(application, query)
    if code is not None:
        raise Refusal(code, redirect_uri, state)
    max_age = query.get("max_age", "")
    return AuthorizationRequest(
        application=application,
        redirect_uri=redirect_uri,
        state=state,
        scopes=known_scopes(query.get("scope", ""), application),
        nonce=query.get("nonce", ""),
        challenge=query.get("code_challenge", ""),
        # RFC 7636 section 4.3: plain, if the client does not say.
        challenge_method=query.get("code_challenge_method") or "plain",
        prompt=frozenset(query.get("prompt", "").split()),
        max_age=int(max_age) if max_age else None,
    )


def _problem(application: Application, query: Mapping[str, str]) -> RefusalCode | None:
    max_age = query.get("max_age", "")
    if "request" in query:
        return "request_not_supported"
    if "request_uri" in query:
        return "request_uri_not_supported"
    if query.get("response_type") != "code":
        return "unsupported_response_type"
    if "authorization_code" not in application.grant_types:
        return "unauthorized_client"
    if (query.get("code_challenge_method") or "plain") not in CHALLENGE_METHODS:
        return "invalid_request"
    if query.get("response_mode", "query") != "query":
        return "invalid_request"
    if max_age and not (max_age.isascii() and max_age.isdigit() and len(max_age) < 10):
        return "invalid_request"
    return None


def with_query(address: str, members: Mapping[str, str]) -> str:
    """The address with the members that are not empty, after those that it has already."""
    said = urlencode({name: value for name, value in members.items() if value})
    if not said:
        return address
    return f"{address}{'&' if '?' in address else '?'}{said}"
