"""Every issuer with every audience, key and algorithm; and tokens changed at random.

The tokens are made by `joserfc`, which shares no line with the gateway. What must come out is read off the
table of configured pairs below, not computed by the code under test.
"""

import asyncio
import itertools
import json
import warnings

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.authenticator import VerifiedToken
from gateway.providers import Providers
from gateway.token_errors import TokenError
from tests.gateway.issuer import NOW, Issuer, ManualTime, authenticator_of, settings_of
from tests.gateway.signing import b64, unb64

OPERATOR = "https://id.example/application/o/dezky-operator/"
PORTAL = "https://id.example/application/o/dezky-portal/"
OTHER = "https://login.other.example/"

KEYS = {
    "operator": RSAKey.generate_key(2048, {"kid": "operator", "use": "sig", "alg": "RS256"}),
    "portal": RSAKey.generate_key(2048, {"kid": "portal", "use": "sig"}),
    "other-console": ECKey.generate_key("P-256", {"kid": "other-ec", "use": "sig"}),
    "other-shop": OKPKey.generate_key("Ed25519", {"kid": "other-ed", "use": "sig"}),
    "stranger": RSAKey.generate_key(2048, {"kid": "operator"}),
}

# (issuer, audience) → surface, the key that it signs with, and its algorithm. Everything else is refused.
PAIRS = {
    (OPERATOR, "dezky-operator"): ("operator", "operator", "RS256"),
    (PORTAL, "dezky-portal"): ("portal", "portal", "PS256"),
    (PORTAL, "dezky-mobile"): ("portal", "portal", "PS256"),
    (OTHER, "console"): ("operator", "other-console", "ES256"),
    (OTHER, "shop"): ("portal", "other-shop", "EdDSA"),
}
ALGORITHM_OF = {
    "operator": "RS256",
    "portal": "PS256",
    "other-console": "ES256",
    "other-shop": "EdDSA",
    "stranger": "RS256",
}
ISSUERS = [OPERATOR, PORTAL, OTHER, OPERATOR.rstrip("/"), OPERATOR.upper(), "https://stranger.example/"]
AUDIENCES = [
    "dezky-operator",
    "dezky-portal",
    "console",
    "shop",
    "stranger",
    ["dezky-operator"],
    ["dezky-operator", "stranger"],
    ["dezky-portal", "dezky-mobile"],
    ["dezky-operator", "dezky-portal"],
    ["console", "shop"],
    [],
    OPERATOR,
]


def serialise(header, claims, key):
    with warnings.catch_warnings():
        # RFC 9864 would have EdDSA called Ed25519; identity providers still say EdDSA.
        warnings.simplefilter("ignore", SecurityWarning)
        text = json.dumps(claims)
        return jws.serialize_compact(header, text, KEYS[key], algorithms=[header["alg"]]).encode()


def sign(key, algorithm, claims, **header):
    return serialise({"alg": algorithm, "kid": KEYS[key].kid, "typ": "JWT", **header}, claims, key)


def claims_of(issuer, audience, **changes):
    base = {"iss": issuer, "aud": audience, "sub": "somebody", "iat": NOW, "exp": NOW + 300, "scope": "openid"}
    return base | changes


def gateway():
    providers = Providers.from_settings(
        [
            settings_of(OPERATOR, "dezky-operator"),
            settings_of(PORTAL, "dezky-portal", "dezky-mobile", algorithms=["PS256"], surface="portal"),
            settings_of(OTHER, "console", algorithms=["ES256"]),
            settings_of(OTHER, "shop", algorithms=["EdDSA"], surface="portal"),
        ]
    )
    issuers = [
        Issuer(OPERATOR, KEYS["operator"].as_dict(private=False)),
        Issuer(PORTAL, KEYS["portal"].as_dict(private=False)),
        Issuer(OTHER, KEYS["other-console"].as_dict(private=False), KEYS["other-shop"].as_dict(private=False)),
    ]
    return authenticator_of(providers, issuers, ManualTime()), issuers


def expected_surface(issuer, audience, key, algorithm):
    named = [audience] if isinstance(audience, str) else audience
    rows = {PAIRS[issuer, name] for name in named if (issuer, name) in PAIRS}
    if len(rows) != 1:
        return None
    surface, right_key, right_algorithm = rows.pop()
    return surface if (key, algorithm) == (right_key, right_algorithm) else None


async def surface_of(authenticator, token):
    try:
        return (await authenticator.authenticate(token)).provider.surface
    except TokenError:
        return None


@pytest.mark.parametrize("issuer", ISSUERS)
async def test_a_token_counts_for_exactly_the_pair_and_key_that_the_table_names(issuer):
    authenticator, _ = gateway()
    accepted = 0
    for audience, key in itertools.product(AUDIENCES, KEYS):
        usual = ALGORITHM_OF[key]
        algorithms = {usual, "RS256", "PS256"} if usual in {"RS256", "PS256"} else {usual}
        for algorithm in sorted(algorithms):
            if key == "operator" and algorithm == "PS256":
                continue  # joserfc rightly refuses to sign with a key that is marked otherwise
            token = sign(key, algorithm, claims_of(issuer, audience))
            expected = expected_surface(issuer, audience, key, algorithm)
            found = await surface_of(authenticator, token)
            assert found == expected, (issuer, audience, key, algorithm)
            accepted += expected is not None
    assert accepted == {OPERATOR: 4, PORTAL: 3, OTHER: 2}.get(issuer, 0)


async def test_no_row_of_the_matrix_reaches_anybody_but_the_configured_issuers():
    authenticator, issuers = gateway()
    for issuer, audience, key in itertools.product(ISSUERS, AUDIENCES, KEYS):
        headers = {"jku": "https://stranger.example/jwks"} if key == "stranger" else {}
        await surface_of(authenticator, sign(key, ALGORITHM_OF[key], claims_of(issuer, audience), **headers))
    # The fake network fails the test on any other address.
    allowed = {f"{issuer.issuer}{path}" for issuer in issuers for path in (".well-known/openid-configuration", "jwks/")}
    assert {url for issuer in issuers for url in issuer.asked} <= allowed
    # Once per provider, of which two share the last issuer.
    assert [issuer.fetches for issuer in issuers] == [1, 1, 2]


def test_a_token_without_a_key_id_is_accepted_only_where_one_key_fits():
    def bare(key, issuer, audience):
        return serialise({"alg": ALGORITHM_OF[key]}, claims_of(issuer, audience), key)

    async def run():
        authenticator, issuers = gateway()
        assert await surface_of(authenticator, bare("operator", OPERATOR, "dezky-operator")) == "operator"
        # Two keys at this issuer, but only one of them for the algorithm.
        assert await surface_of(authenticator, bare("other-console", OTHER, "console")) == "operator"
        assert await surface_of(authenticator, bare("stranger", OPERATOR, "dezky-operator")) is None
        twin = RSAKey.generate_key(2048, {"kid": "twin"}).as_dict(private=False)
        authenticator, issuers = gateway()
        issuers[0].keys.append(twin)
        assert await surface_of(authenticator, bare("operator", OPERATOR, "dezky-operator")) is None

    asyncio.run(run())


# Tokens changed at random ---------------------------------------------------------------------------------

FUZZED, _ = gateway()
GOOD = sign("operator", "RS256", claims_of(OPERATOR, "dezky-operator"))
GOOD_EC = sign("other-console", "ES256", claims_of(OTHER, "console"))
GOOD_ED = sign("other-shop", "EdDSA", claims_of(OTHER, "shop"))
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judge(token):
    """Return what the gateway makes of a token: what it verified, or the refusal. Nothing else may happen."""

    async def run():
        try:
            return await FUZZED.authenticate(token)
        except TokenError as error:
            return error

    return asyncio.run(run())


@st.composite
def damaged(draw):
    token = draw(st.sampled_from([GOOD, GOOD_EC, GOOD_ED]))
    raw = bytearray(token)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.sampled_from(["replace", "insert", "delete", "cut", "repeat"])):
            case "replace":
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                raw[at:at] = draw(st.binary(max_size=4) | st.sampled_from([b".", b"=", b"\n", b"..", b"AA"]))
            case "delete":
                del raw[at : at + draw(st.integers(1, 8))]
            case "cut":
                del raw[at:]
            case "repeat":
                raw += raw[at:]
    return token, bytes(raw)


@FUZZ
@given(damaged())
def test_a_damaged_token_is_never_accepted(pair):
    original, token = pair
    outcome = judge(token)
    assert isinstance(outcome, TokenError) or token == original


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
header_names = st.sampled_from(
    ["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "zip", "enc", "p2c", "epk"]
)


@FUZZ
@given(st.dictionaries(header_names | st.text(max_size=6), json_values, min_size=1, max_size=4))
def test_a_header_that_was_not_signed_is_never_accepted(members):
    head, payload, signature = GOOD.decode().split(".")
    changed = json.loads(unb64(head)) | members
    token = f"{b64(json.dumps(changed).encode())}.{payload}.{signature}".encode()
    assert isinstance(judge(token), TokenError) or token == GOOD


@FUZZ
@given(st.dictionaries(st.sampled_from(["sub", "iss", "aud", "exp", "groups", "scope"]), json_values, min_size=1))
def test_claims_that_were_not_signed_are_never_accepted(members):
    head, payload, signature = GOOD.decode().split(".")
    changed = json.loads(unb64(payload)) | members
    token = f"{head}.{b64(json.dumps(changed).encode())}.{signature}".encode()
    assert isinstance(judge(token), TokenError) or token == GOOD


claim_names = st.sampled_from(
    ["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "email", "name", "groups", "jti", "sid", "auth_time"]
)


@FUZZ
@given(st.dictionaries(claim_names | st.text(max_size=6), json_values, max_size=5))
@example({"exp": 10**400})
@example({"exp": 1e308})
@example({"exp": float("nan")})
@example({"groups": {"dezky-platform-admins": 1}})
def test_whatever_an_issuer_signs_is_accepted_or_refused_and_nothing_else(members):
    claims = claims_of(OPERATOR, "dezky-operator") | members
    outcome = judge(sign("operator", "RS256", claims))
    if isinstance(outcome, VerifiedToken):
        assert outcome.subject == claims["sub"]
        assert outcome.expires_at > NOW - 30
        assert all(isinstance(group, str) for group in outcome.groups)
    else:
        assert isinstance(outcome, TokenError)


@FUZZ
@given(st.binary(max_size=300) | st.text(alphabet="eyJ.=_-AQ", max_size=300).map(str.encode))
def test_any_bytes_are_refused(raw):
    assert isinstance(judge(raw), TokenError)


@FUZZ
@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=80))
def test_any_three_parts_are_refused(head, payload, signature):
    assert isinstance(judge(".".join(map(b64, (head, payload, signature))).encode()), TokenError)
