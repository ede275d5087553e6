"""What the browser sign-in is made of: sealing, cookies, ID tokens, settings."""

from __future__ import annotations

import os
import secrets
from typing import Any

import httpx
import orjson
import pytest

from gateway.cookies import read_cookies, session_of
from gateway.login import return_path
from gateway.main import build
from gateway.oidc import ClientIdentity, GrantRefused, OidcClient
from gateway.problems import BadRequest, ServiceUnavailable
from gateway.provider_tokens import ProviderTokens
from gateway.providers import Providers
from gateway.sealing import Keyring, Unsealable
from gateway.settings import GatewaySettings
from gateway.token_errors import TokenError
from shared.settings import load
from shared.testing import seed_text
from tests.gateway.issuer import NOW, Issuer, ManualTime, authenticator_of, settings_of
from tests.gateway.signing import compact, jwk_of, new_rsa, signer

pytestmark = pytest.mark.unit

ISSUER = "https://id.example/application/o/dezky-portal/"
RSA = new_rsa()
OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


def test_what_was_sealed_opens_for_the_same_purpose_and_context_only() -> None:
    ring = Keyring([OLD])
    sealed = ring.sealer("portal cookie").seal(b"secret", "here")
    assert ring.sealer("portal cookie").open(sealed, "here")[0] == b"secret"
    for purpose, context in (("operator cookie", "here"), ("portal cookie", "there")):
        with pytest.raises(Unsealable):
            ring.sealer(purpose).open(sealed, context)


def test_the_first_key_seals_and_every_key_opens() -> None:
    old, both, new = (Keyring(keys).sealer("p") for keys in ([OLD], [NEW, OLD], [NEW]))
    assert both.open(old.seal(b"x", "c"), "c")[0] == b"x"
    assert new.open(both.seal(b"x", "c"), "c")[0] == b"x"
    with pytest.raises(Unsealable):
        new.open(old.seal(b"x", "c"), "c")


def test_every_changed_byte_and_every_cut_is_noticed() -> None:
    sealer = Keyring([OLD]).sealer("p")
    sealed = sealer.seal(b"0123456789", "c")
    forged = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for broken in forged + [sealed[:at] for at in range(len(sealed))]:
        with pytest.raises(Unsealable):
            sealer.open(broken, "c")


def test_tags_of_different_kinds_purposes_and_keys_differ() -> None:
    index = Keyring([NEW, OLD]).index("portal")
    tags = {index.tag(kind, b"v", key_id) for kind in ("a", "b") for key_id in index.key_ids}
    tags.add(Keyring([NEW]).index("operator").tag("a", b"v"))
    assert len(tags) == 5


@pytest.mark.parametrize("place", ["/", "/tenants/acme?tab=people#top", "/a//b", "/caf%C3%A9", "/a:b@c"])
def test_a_path_of_our_own_is_a_way_back(place: str) -> None:
    assert return_path(place) == place


def test_cookies_are_read_from_all_fields_by_their_exact_names() -> None:
    headers = [(b"cookie", b"a=1;  b = 2; x__Host-c=3"), (b"cookie", b"__Host-c=4==; bare")]
    assert read_cookies(headers, ["a", "__Host-c"]) == {"a": b"1", "__Host-c": b"4=="}


BOTH = (b"cookie", b"__Host-dezky-operator=o; __Host-dezky-portal=p")


@pytest.mark.parametrize(
    ("headers", "route", "expected"),
    [
        ([], {"operator", "portal"}, None),
        ([(b"cookie", b"__Host-dezky-portal=p")], {"operator", "portal"}, ("portal", b"p")),
        ([(b"cookie", b"__Host-dezky-portal=p")], {"operator"}, ("portal", b"p")),
        ([BOTH], {"operator"}, ("operator", b"o")),
        ([BOTH, (b"x-dezky-surface", b"portal")], {"operator"}, ("portal", b"p")),
        ([(b"cookie", b"__Host-dezky-portal=p"), (b"x-dezky-surface", b"operator")], {"portal"}, None),
    ],
)
def test_which_session_counts(headers: Any, route: Any, expected: Any) -> None:
    assert session_of(headers, route) == expected


@pytest.mark.parametrize("named", [[], [b"Portal"], [b""], [b"portal", b"operator"]])
def test_a_request_that_does_not_say_which_session_counts_is_refused(named: list[bytes]) -> None:
    with pytest.raises(BadRequest):
        session_of([BOTH, *((b"x-dezky-surface", name) for name in named)], {"operator", "portal"})


# -- ID tokens (OpenID Connect Core 1.0 §3.1.3.7)


def _tokens() -> ProviderTokens:
    providers = Providers.from_settings([settings_of(ISSUER, "dezky-portal", "dezky-app", surface="portal")])
    authenticator = authenticator_of(providers, [Issuer(ISSUER, jwk_of(RSA, kid="k"))], ManualTime())
    return ProviderTokens(authenticator, next(iter(providers)), "dezky-portal")


def _id_token(**changes: Any) -> str:
    claims = {"iss": ISSUER, "aud": "dezky-portal", "sub": "jane", "iat": NOW, "exp": NOW + 300, "nonce": "the nonce"}
    kept = {name: value for name, value in {**claims, "sid": "s1", **changes}.items() if value is not None}
    return compact({"alg": "RS256", "kid": "k", "typ": "JWT"}, signer(RSA, "RS256"), kept)


async def test_an_id_token_says_who_signed_in() -> None:
    identity = await _tokens().identity(_id_token(azp="dezky-portal"), "the nonce")
    assert (identity.subject, identity.provider_session) == ("jane", "s1")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"nonce": "the nonce "},
        {"aud": "dezky-app"},
        {"aud": "somebody-else"},
        {"azp": "dezky-app"},
        {"iss": "https://evil.example/"},
        {"exp": NOW - 31},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"scope": "openid"},
        {"events": {}},
    ],
)
async def test_an_id_token_that_is_not_for_this_login_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        await _tokens().identity(_id_token(**changes), "the nonce")


# -- the provider's other answers


def _client(discovery: dict[str, Any], answer: httpx.Response | None = None) -> OidcClient:
    document = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://id.example/authorize/",
        "token_endpoint": "https://id.example/token/",
        **discovery,
    }

    async def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token/" and answer is not None:
            return answer
        assert request.url.path.endswith("/.well-known/openid-configuration"), f"nobody may be asked for {request.url}"
        return httpx.Response(200, json=document)

    identity = ClientIdentity("dezky-portal", "s", "https://dezky.example/cb", "https://dezky.example/")
    return OidcClient(ISSUER, identity, now=lambda: 0.0, transport=httpx.MockTransport(respond))


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example/"},
        {"token_endpoint": "https://evil.example/token/"},
        {"token_endpoint": "http://id.example/token/"},
        {"token_endpoint": None},
        {"authorization_endpoint": "https://evil.example/authorize/"},
        {"end_session_endpoint": "https://evil.example/end/"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
async def test_a_discovery_that_leads_elsewhere_is_not_followed(discovery: dict[str, Any]) -> None:
    client = _client(discovery)
    with pytest.raises(ServiceUnavailable):
        await client.authorization_url(state="s", nonce="n", verifier="v" * 43)
    await client.close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "invalid_grant"}, GrantRefused),
        (400, {"error": "invalid_client"}, ServiceUnavailable),
        (401, {"error": "invalid_client"}, ServiceUnavailable),
        (429, {"error": "slow_down"}, ServiceUnavailable),
        (500, {"error": "invalid_grant"}, ServiceUnavailable),
        (302, {"access_token": "a", "token_type": "Bearer"}, ServiceUnavailable),
        (200, {"token_type": "Bearer"}, ServiceUnavailable),
        (200, {"access_token": "a", "token_type": "mac"}, ServiceUnavailable),
        (200, [], ServiceUnavailable),
    ],
)
async def test_only_the_providers_word_about_the_grant_ends_a_session(
    status: int, body: Any, expected: type[Exception]
) -> None:
    client = _client({}, httpx.Response(status, json=body))
    with pytest.raises(expected):
        await client.renew("refresh")
    await client.close()


# -- settings


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"GATEWAY_SESSION_KEY": None}, "GATEWAY_SIGN_IN: Value error, needs GATEWAY_SESSION_KEY, too"),
        ({"GATEWAY_NATS_URL": None}, "GATEWAY_SIGN_IN: Value error, needs GATEWAY_NATS_URL, too"),
        ({"GATEWAY_SESSION_KEY": "c2hvcnQ"}, "GATEWAY_SESSION_KEY: Value error, must be keys of 32 bytes"),
        (
            {"GATEWAY_SIGN_IN": '{"portal": {"clientId": "x", "clientSecret": "y"}}'},
            "0 providers of this surface have the audience x",
        ),
        ({"GATEWAY_SIGN_IN": '{"portal": {"clientId": "dezky-portal"}}'}, "GATEWAY_SIGN_IN.portal.clientSecret"),
    ],
)
def test_a_sign_in_that_is_half_configured_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], line: str
) -> None:
    for name, value in {**_environment(monkeypatch), **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    assert line in capsys.readouterr().err


def test_several_session_keys_are_read_the_first_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = f"{seed_text('new')},{seed_text('old')}"
    for name, value in {**_environment(monkeypatch), "GATEWAY_SESSION_KEY": keys}.items():
        monkeypatch.setenv(name, value)
    settings = load(GatewaySettings)
    assert len(settings.session_keys) == 2
    assert "y-secret" not in repr(settings)
    assert settings.sign_in["portal"].client_secret.get_secret_value() == "y-secret"
    pages = build(settings).pages
    assert pages is not None
    assert pages.find("/auth/portal/login")
    assert pages.find("/auth/operator/login") is None


def _environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    return {
        "GATEWAY_PROVIDERS": orjson.dumps([settings_of(ISSUER, "dezky-portal", surface="portal")]).decode(),
        "GATEWAY_UPSTREAMS": '{"tenant": "http://127.0.0.1:9"}',
        "GATEWAY_INTERNAL_SIGNING_KEY": seed_text("gateway"),
        "GATEWAY_INTERNAL_SIGNING_KID": "gateway-1",
        "GATEWAY_NATS_URL": "nats://gateway:x@127.0.0.1:9",
        "GATEWAY_SESSION_KEY": seed_text("sessions"),
        "GATEWAY_SIGN_IN": '{"portal": {"clientId": "dezky-portal", "clientSecret": "y-secret"}}',
    }
