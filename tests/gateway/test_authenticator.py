import asyncio

import pytest

from gateway import token_errors
from gateway.providers import Providers
from gateway.token_errors import (
    AlgorithmNotAllowed,
    BadSignature,
    KeysUnavailable,
    NotAnAccessToken,
    TokenError,
    TokenExpired,
    UnknownIssuer,
    UnknownKey,
    WrongAudience,
    WrongTokenType,
)
from tests.gateway.issuer import NOW, Issuer, ManualTime, authenticator_of, settings_of
from tests.gateway.signing import compact, jwk_of, new_rsa, signer

OPERATOR = "https://id.example/application/o/dezky-operator/"
PORTAL = "https://id.example/application/o/dezky-portal/"
KEY, NEXT_KEY = new_rsa(), new_rsa()
SIGN, SIGN_NEXT = signer(KEY, "RS256"), signer(NEXT_KEY, "RS256")
ONE, TWO = jwk_of(KEY, kid="one", alg="RS256", use="sig"), jwk_of(NEXT_KEY, kid="two", alg="RS256", use="sig")

# An access token as Authentik writes it.
CLAIMS = {
    "iss": OPERATOR,
    "sub": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "aud": "dezky-operator",
    "exp": NOW + 300,
    "iat": NOW,
    "auth_time": NOW - 5,
    "acr": "goauthentik.io/providers/oauth2/default",
    "amr": ["pwd", "mfa"],
    "email": "operator@dezky.local",
    "email_verified": False,
    "name": "Olga Operator",
    "preferred_username": "olga",
    "groups": ["dezky-platform-admins", "everybody"],
    "azp": "dezky-operator",
    "uid": "vQ8zV1",
    "scope": "openid email profile",
}


def token(header=None, sign=SIGN, drop=(), **changes):
    claims = {name: value for name, value in (CLAIMS | changes).items() if name not in drop}
    return compact({"alg": "RS256", "kid": "one", "typ": "JWT"} | (header or {}), sign, claims).encode()


@pytest.fixture
def time():
    return ManualTime()


@pytest.fixture
def issuers():
    return [Issuer(OPERATOR, ONE), Issuer(PORTAL, TWO)]


@pytest.fixture
def providers():
    return Providers.from_settings(
        [
            settings_of(OPERATOR, "dezky-operator"),
            settings_of(PORTAL, "dezky-portal", surface="portal"),
        ]
    )


@pytest.fixture
def authenticator(providers, issuers, time):
    return authenticator_of(providers, issuers, time, cache_size=3)


async def test_an_access_token_says_who_is_calling(authenticator, providers):
    verified = await authenticator.authenticate(token())
    assert verified.provider is next(iter(providers))
    assert verified.provider.surface == "operator"
    assert verified.subject == CLAIMS["sub"]
    assert (verified.email, verified.name) == ("operator@dezky.local", "Olga Operator")
    assert verified.groups == ("dezky-platform-admins", "everybody")
    assert (verified.issued_at, verified.expires_at) == (NOW, NOW + 300)
    assert dict(verified.claims) == CLAIMS


async def test_what_is_verified_cannot_be_changed(authenticator):
    verified = await authenticator.authenticate(token())
    with pytest.raises(TypeError):
        verified.claims["groups"] = []
    with pytest.raises(AttributeError):
        verified.subject = "somebody else"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt"])
async def test_the_types_of_access_tokens_are_accepted(authenticator, kind):
    assert await authenticator.authenticate(token({"typ": kind}))


async def test_a_token_without_a_type_is_accepted(authenticator):
    bare = compact({"alg": "RS256", "kid": "one"}, SIGN, CLAIMS).encode()
    assert await authenticator.authenticate(bare)


async def test_a_token_without_what_is_optional_is_accepted(authenticator):
    bare = token(drop={"iat", "email", "name", "groups", "auth_time"})
    verified = await authenticator.authenticate(bare)
    assert (verified.email, verified.name, verified.groups, verified.issued_at) == (None, None, (), 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (token(iss="https://elsewhere.example/"), "unknown_issuer"),
        (token(iss=OPERATOR[:-1]), "unknown_issuer"),
        (token(aud="dezky-portal"), "wrong_audience"),
        (token(aud=[]), "wrong_audience"),
        (token(aud=["dezky-operator", 5]), "invalid_claim"),
        (token(sub=5), "invalid_claim"),
        (token(exp="never"), "invalid_claim"),
        (token(exp=10**400), "invalid_claim"),
        (token(groups="dezky-platform-admins"), "invalid_claim"),
        (token(exp=NOW - 30), "token_expired"),
        (token(nbf=NOW + 31), "token_not_yet_valid"),
        (token(iat=NOW + 31), "token_not_yet_valid"),
        (token(drop={"scope"}), "not_an_access_token"),
        (token({"typ": "logout+jwt"}), "wrong_token_type"),
        (token({"typ": 5}), "malformed_token"),
        (token({"jku": "https://id.example/"}), "header_not_allowed"),
        (token({"alg": "HS256"}), "algorithm_not_allowed"),
        (token({"alg": "PS256"}, signer(KEY, "PS256")), "algorithm_not_allowed"),
        (token({"kid": "nobody"}), "unknown_key"),
        (token(sign=SIGN_NEXT), "bad_signature"),
        (b"", "malformed_token"),
        (b"\xff\xfe", "malformed_token"),
        *((token(drop={name}), "missing_claim") for name in ("iss", "aud", "exp", "sub")),
    ],
)
async def test_a_token_that_does_not_count_says_why(authenticator, bad, reason):
    with pytest.raises(TokenError) as caught:
        await authenticator.authenticate(bad)
    assert (caught.value.status, caught.value.error, caught.value.reason) == (401, "invalid_token", reason)


def test_every_description_is_fit_for_a_header():
    # RFC 6750 section 3: %x20-21 / %x23-5B / %x5D-7E
    kinds = [kind for kind in vars(token_errors).values() if isinstance(kind, type) and issubclass(kind, TokenError)]
    assert len({kind.code for kind in kinds}) == len(kinds) > 10
    for kind in kinds:
        assert all(" " <= character <= "~" and character not in '"\\' for character in kind().error_description)


async def test_an_operator_token_signed_by_the_portals_key_is_refused(authenticator):
    with pytest.raises(UnknownKey):
        await authenticator.authenticate(token({"kid": "two"}, SIGN_NEXT))


async def test_a_token_for_both_surfaces_at_once_is_refused_by_both(time):
    shared = "https://id.example/"
    providers = Providers.from_settings([settings_of(shared, "console"), settings_of(shared, "shop", surface="portal")])
    authenticator = authenticator_of(providers, [Issuer(shared, ONE)], time)
    with pytest.raises(WrongAudience):
        await authenticator.authenticate(token(iss=shared, aud=["console", "shop"]))
    verified = await authenticator.authenticate(token(iss=shared, aud=["shop", "somebody-else"]))
    assert verified.provider.surface == "portal"


# What was verified is remembered -------------------------------------------------------------------------


async def test_a_token_seen_before_is_not_verified_again(authenticator):
    raw = token()
    assert await authenticator.authenticate(raw) is await authenticator.authenticate(raw)


async def test_a_remembered_token_expires_to_the_second_and_is_then_judged_with_the_skew(authenticator, time):
    raw = token()
    first = await authenticator.authenticate(raw)
    time.advance(299.999)
    assert await authenticator.authenticate(raw) is first
    time.advance(0.001)
    again = await authenticator.authenticate(raw)
    assert again is not first
    assert again == first
    time.advance(29.999)
    assert await authenticator.authenticate(raw) == first
    time.advance(0.001)
    with pytest.raises(TokenExpired):
        await authenticator.authenticate(raw)


async def test_a_key_that_is_withdrawn_takes_its_tokens_with_it(authenticator, issuers, time):
    raw = token(exp=NOW + 3_600)
    await authenticator.authenticate(raw)
    issuers[0].keys = [TWO]
    time.advance(601)
    with pytest.raises(UnknownKey):
        await authenticator.authenticate(raw)


async def test_keys_that_stay_the_same_keep_what_was_verified(authenticator, issuers, time):
    raw = token(exp=NOW + 3_600)
    first = await authenticator.authenticate(raw)
    time.advance(601)
    await authenticator.authenticate(raw)
    assert issuers[0].fetches == 2
    again = await authenticator.authenticate(raw)
    assert again is await authenticator.authenticate(raw)
    assert again == first


async def test_only_so_many_tokens_are_remembered_and_the_least_used_goes_first(authenticator):
    raws = [token(jti=str(number)) for number in range(4)]
    first, second, third = [await authenticator.authenticate(raw) for raw in raws[:3]]
    assert await authenticator.authenticate(raws[0]) is first
    await authenticator.authenticate(raws[3])
    assert await authenticator.authenticate(raws[0]) is first
    assert await authenticator.authenticate(raws[2]) is third
    assert await authenticator.authenticate(raws[1]) is not second
    assert len(authenticator._remembered) == 3


async def test_a_refused_token_is_not_remembered(authenticator):
    for number in range(10):
        with pytest.raises(BadSignature):
            await authenticator.authenticate(token(sign=SIGN_NEXT, jti=str(number)))
    assert not authenticator._remembered


# Keys -----------------------------------------------------------------------------------------------------


async def test_a_key_that_the_issuer_has_just_begun_to_use_is_found(authenticator, issuers):
    await authenticator.authenticate(token())
    issuers[0].keys = [ONE, TWO]
    assert await authenticator.authenticate(token({"kid": "two"}, SIGN_NEXT))
    assert issuers[0].fetches == 2


async def test_a_flood_of_unknown_key_ids_costs_one_fetch_per_cool_down(authenticator, issuers, time):
    await authenticator.authenticate(token())

    async def flood():
        forged = [token({"kid": f"forged-{number}"}, SIGN_NEXT) for number in range(20)]
        results = await asyncio.gather(*map(authenticator.authenticate, forged), return_exceptions=True)
        assert all(isinstance(result, UnknownKey) for result in results)

    await flood()
    await flood()
    assert issuers[0].fetches == 2
    time.advance(10)
    await flood()
    assert issuers[0].fetches == 3
    assert issuers[1].fetches == 0


async def test_nothing_else_in_a_token_leads_to_a_fetch(authenticator, issuers):
    await authenticator.authenticate(token())
    asked = list(issuers[0].asked)
    for bad in (
        token({"jku": f"{OPERATOR}jwks/"}),
        token({"x5u": "https://elsewhere.example/"}),
        token({"alg": "ES256", "kid": "nobody"}),
        token({"alg": "none", "kid": "nobody"}),
        token(iss="https://elsewhere.example/"),
        token(aud="dezky-portal"),
        token(sign=SIGN_NEXT),
        compact({"alg": "RS256"}, SIGN_NEXT, CLAIMS).encode(),
        b"x" * 9_000,
    ):
        with pytest.raises(TokenError):
            await authenticator.authenticate(bad)
    assert issuers[0].asked == asked
    assert not issuers[1].asked


async def test_an_algorithm_that_is_not_pinned_is_refused_before_any_key_is_fetched(authenticator, issuers):
    with pytest.raises(AlgorithmNotAllowed):
        await authenticator.authenticate(token({"alg": "ES256"}))
    with pytest.raises(UnknownIssuer):
        await authenticator.authenticate(token(iss="https://elsewhere.example/"))
    assert not issuers[0].asked


async def test_without_any_keys_nobodys_token_can_be_judged(authenticator, issuers, time):
    issuers[0].down = True
    with pytest.raises(KeysUnavailable) as caught:
        await authenticator.authenticate(token())
    assert caught.value.status == 503
    issuers[0].down = False
    time.advance(1)
    assert await authenticator.authenticate(token())


async def test_one_issuer_that_is_down_does_not_concern_the_other(authenticator, issuers):
    issuers[1].down = True
    assert await authenticator.authenticate(token())
    with pytest.raises(KeysUnavailable):
        await authenticator.authenticate(token({"kid": "two"}, SIGN_NEXT, iss=PORTAL, aud="dezky-portal"))


async def test_an_issuer_that_goes_down_later_is_not_noticed_by_its_tokens(authenticator, issuers, time):
    await authenticator.authenticate(token())
    issuers[0].down = True
    time.advance(7_200)
    assert await authenticator.authenticate(token(exp=NOW + 7_500))
    with pytest.raises(UnknownKey):
        await authenticator.authenticate(token({"kid": "nobody"}, exp=NOW + 7_500))


async def test_warming_fetches_the_keys_of_every_provider(authenticator, issuers):
    await authenticator.warm()
    await authenticator.authenticate(token())
    assert [issuer.fetches for issuer in issuers] == [1, 1]
    await authenticator.aclose()


async def test_a_token_of_no_use_stays_of_no_use_however_often_it_comes(authenticator):
    for raw, error in [(token(drop={"scope"}), NotAnAccessToken), (token({"typ": "x"}), WrongTokenType)]:
        for _ in range(3):
            with pytest.raises(error):
                await authenticator.authenticate(raw)
