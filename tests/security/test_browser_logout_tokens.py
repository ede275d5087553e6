"""Logout tokens: what a provider may end from behind, and what only looks like its word."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.gateway.browsing import Site
from tests.gateway.signing import compact, new_rsa, signer
from tests.sandbox.authentik.process import MEMBER, OPERATOR

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"  # OpenID Connect Back-Channel Logout 1.0 §2.4


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


Change = Callable[[dict[str, Any]], object]


def _logout_token(entrance: Site, change: Change, kind: str = "logout+jwt") -> str:
    """A token signed with the provider's own key, changed before it is signed."""
    pem = (entrance.provider.state / "signing-key.pem").read_bytes()
    (jwk,) = entrance.provider.jwks("dezky-portal")["keys"]
    now = int(entrance.clock.now().timestamp())
    claims: dict[str, Any] = {
        "iss": f"{entrance.provider.url}/application/o/dezky-portal/",
        "aud": "dezky-portal",
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_hex(16),
        "events": {LOGOUT_EVENT: {}},
    }
    change(claims)
    key = load_pem_private_key(pem, None)
    return compact({"alg": "RS256", "typ": kind, "kid": jwk["kid"]}, signer(key, "RS256"), claims)  # type: ignore[arg-type]


async def _send(entrance: Site, token: str, surface: str = "portal") -> httpx.Response:
    return await entrance.visitor().send("POST", f"/auth/{surface}/backchannel-logout", data={"logout_token": token})


def _without(name: str) -> Change:
    return lambda claims: claims.pop(name)


def _with(**members: Any) -> Change:
    return lambda claims: claims.update(members)


def _both(one: Change, other: Change) -> Change:
    return lambda claims: (one(claims), other(claims))


NO_LOGOUTS: list[tuple[Change, str]] = [
    (_without("events"), "logout+jwt"),
    (_with(events={"http://schemas.openid.net/event/other": {}}), "logout+jwt"),
    (_with(events={LOGOUT_EVENT: "yes"}), "logout+jwt"),
    (_with(nonce="n"), "logout+jwt"),
    (_without("sub"), "logout+jwt"),
    (_without("jti"), "logout+jwt"),
    (_without("iat"), "logout+jwt"),
    (_without("exp"), "logout+jwt"),
    (_with(exp=1), "logout+jwt"),
    (_with(aud="dezky-operator"), "logout+jwt"),
    (_with(iss="https://evil.example/"), "logout+jwt"),
    (_with(), "at+jwt"),
    (_with(), "dezky-internal+jwt"),
]


async def test_only_a_proper_logout_token_ends_sessions(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    subject = (await entrance.stored(visitor)).record.subject
    for number, (change, kind) in enumerate(NO_LOGOUTS):
        token = _logout_token(entrance, _both(_with(sub=subject), change), kind)
        assert code_of(await _send(entrance, token)) == (400, "invalid_logout_token"), number
    assert (await visitor.get("/api/me")).status_code == 200


async def test_neither_another_kind_of_token_nor_another_key_ends_sessions(entrance: Site) -> None:
    visitor = await entrance.sign_in(MEMBER)
    record = (await entrance.stored(visitor)).record
    head, body, _ = _logout_token(entrance, _with(sub=record.subject)).split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    forged = compact(header, signer(new_rsa(), "RS256"), claims)
    for token in (record.access_token, str(record.id_token), forged, f"{none}.{body}.", "", "a.b.c"):
        assert code_of(await _send(entrance, token)) == (400, "invalid_logout_token")
    right = _logout_token(entrance, _with(sub=record.subject))
    assert code_of(await _send(entrance, right, "operator")) == (400, "invalid_logout_token")
    assert (await visitor.get("/api/me")).status_code == 200


async def test_a_logout_token_ends_what_it_names_and_nothing_else(entrance: Site) -> None:
    first, second = await entrance.sign_in(MEMBER), await entrance.sign_in(MEMBER)
    other, operator = await entrance.sign_in(OPERATOR), await entrance.sign_in(MEMBER, "operator")
    one, two = (await entrance.stored(first)).record, (await entrance.stored(second)).record
    assert one.provider_session != two.provider_session
    answer = await _send(entrance, _logout_token(entrance, _with(sid=one.provider_session)))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert [(await v.get("/api/me")).status_code for v in (first, second, other, operator)] == [401, 200, 200, 200]
    mismatch = _with(sub=(await entrance.stored(other)).record.subject, sid=two.provider_session)
    assert (await _send(entrance, _logout_token(entrance, mismatch))).status_code == 200
    assert (await second.get("/api/me")).status_code == 200
    assert (await _send(entrance, _logout_token(entrance, _with(sub=one.subject)))).status_code == 200
    assert [(await v.get("/api/me")).status_code for v in (second, other, operator)] == [401, 200, 200]


async def test_a_replayed_logout_token_ends_no_later_session(entrance: Site) -> None:
    first = await entrance.sign_in(MEMBER)
    subject = (await entrance.stored(first)).record.subject
    token = _logout_token(entrance, _with(sub=subject))
    a_minute_ago = int(entrance.clock.now().timestamp()) - 60
    old = _logout_token(entrance, _with(sub=subject, iat=a_minute_ago))
    assert (await _send(entrance, token)).status_code == 200
    assert (await first.get("/api/me")).status_code == 401
    second = await entrance.sign_in(MEMBER)
    assert (await _send(entrance, token)).status_code == 200
    assert (await _send(entrance, old)).status_code == 200  # never seen, but issued before this session began
    assert (await second.get("/api/me")).status_code == 200


async def test_a_form_that_is_too_large_or_none_is_refused(entrance: Site) -> None:
    visitor = entrance.visitor()
    large = await _send(entrance, "a" * 20_000)
    assert code_of(large) == (413, "content_too_large")
    plain = await visitor.send("POST", "/auth/portal/backchannel-logout", content=b"logout_token=x")
    assert code_of(plain) == (400, "bad_request")
