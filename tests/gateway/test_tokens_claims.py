"""RFC 7519 section 4.1 and RFC 9068, claim by claim."""

import pytest

from gateway.claims import (
    LATEST,
    audiences,
    check_kind,
    check_validity,
    optional_text,
    parse_claims,
    required_text,
    texts,
)
from gateway.token_errors import (
    InvalidClaim,
    MalformedToken,
    MissingClaim,
    NotAnAccessToken,
    TokenExpired,
    TokenNotYetValid,
    WrongTokenType,
)

NOW = 1_795_348_800

NOT_DATES = [None, "", "1795348800", True, False, [], {}, [1795348800], 10**400, -(10**400), 2**53, float("inf")]


@pytest.mark.parametrize(
    ("expires", "error"),
    [
        (NOW + 300, None),
        (NOW + 0.5, None),
        (NOW, None),
        (NOW - 29, None),
        (NOW - 29.999, None),
        (NOW - 30, TokenExpired),
        (NOW - 31, TokenExpired),
        (0, TokenExpired),
        (-1, TokenExpired),
        (-(2**52), TokenExpired),
        (10**15, None),
        (2**53 - 1, None),
    ],
)
def test_a_token_counts_until_30_seconds_after_it_expires(expires, error):
    if error is None:
        assert check_validity({"exp": expires}, NOW).expires_at == min(expires, LATEST)
    else:
        with pytest.raises(error):
            check_validity({"exp": expires}, NOW)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("begins", "error"),
    [
        (NOW, None),
        (NOW + 30, None),
        (NOW + 29.9, None),
        (0, None),
        (-5, None),
        (NOW + 30.001, TokenNotYetValid),
        (NOW + 31, TokenNotYetValid),
        (2**53 - 1, TokenNotYetValid),
    ],
)
def test_a_token_counts_from_30_seconds_before_it_begins(claim, begins, error):
    claims = {"exp": NOW + 300, claim: begins}
    if error is None:
        check_validity(claims, NOW)
    else:
        with pytest.raises(error):
            check_validity(claims, NOW)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", NOT_DATES)
def test_what_is_not_a_date_is_refused_and_never_raises_anything_else(claim, value):
    with pytest.raises(InvalidClaim):
        check_validity({"exp": NOW + 300, claim: value}, NOW)


def test_an_expiry_is_required():
    with pytest.raises(MissingClaim):
        check_validity({"iat": NOW}, NOW)


def test_a_token_that_does_not_say_when_it_was_issued_was_issued_before_everything():
    assert check_validity({"exp": NOW + 300}, NOW).issued_at == 0
    assert check_validity({"exp": NOW + 300, "iat": -5}, NOW).issued_at == 0
    assert check_validity({"exp": NOW + 300, "iat": NOW - 1}, NOW).issued_at == NOW - 1


@pytest.mark.parametrize(
    ("token_type", "claims"),
    [
        ("jwt", {"scope": "openid profile"}),
        (None, {"scope": "openid"}),
        (None, {"scope": ""}),
        ("at+jwt", {"scope": "openid"}),
        ("at+jwt", {}),
    ],
)
def test_an_access_token_is_known_by_its_scope_or_its_type(token_type, claims):
    check_kind(token_type, claims)


@pytest.mark.parametrize("token_type", ["jwt", None])
@pytest.mark.parametrize("claims", [{}, {"nonce": "n", "at_hash": "x"}, {"scope": None}])
def test_an_id_token_is_refused(token_type, claims):
    with pytest.raises(NotAnAccessToken) as caught:
        check_kind(token_type, claims)
    assert caught.value.reason == "not_an_access_token"


@pytest.mark.parametrize(
    "token_type", ["logout+jwt", "dezky-internal+jwt", "dpop+jwt", "secevent+jwt", "id_token", "", "jwt+at", "jose"]
)
def test_a_token_of_another_kind_is_refused(token_type):
    with pytest.raises(WrongTokenType):
        check_kind(token_type, {"scope": "openid"})


@pytest.mark.parametrize("scope", [5, ["openid"], True, {}])
def test_a_scope_that_is_no_string_is_refused(scope):
    with pytest.raises(InvalidClaim):
        check_kind("jwt", {"scope": scope})


@pytest.mark.parametrize(("aud", "expected"), [("a", ("a",)), (["a"], ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_an_audience_is_a_string_or_a_list_of_strings(aud, expected):
    assert audiences({"aud": aud}) == expected


@pytest.mark.parametrize("aud", [None, "", 5, True, {}, {"a": 1}, ["a", 5], [["a"]], [None]])
def test_any_other_audience_is_refused(aud):
    with pytest.raises(InvalidClaim):
        audiences({"aud": aud})


def test_a_missing_claim_is_named():
    for read, name in [(required_text, "sub"), (required_text, "iss"), (lambda c, _: audiences(c), "aud")]:
        with pytest.raises(MissingClaim, match=f"The claim {name} is missing"):
            read({}, name)


@pytest.mark.parametrize("value", [None, "", 5, True, [], ["x"], {}])
def test_a_required_text_is_a_string_that_is_not_empty(value):
    with pytest.raises(InvalidClaim):
        required_text({"sub": value}, "sub")


@pytest.mark.parametrize("value", [5, True, [], {}])
def test_an_optional_text_may_be_missing_or_null_but_nothing_else(value):
    assert optional_text({}, "email") is None
    assert optional_text({"email": None}, "email") is None
    with pytest.raises(InvalidClaim):
        optional_text({"email": value}, "email")


@pytest.mark.parametrize("value", ["dezky-platform-admins", None, 5, {"dezky-platform-admins": True}, [5], [["a"]]])
def test_groups_are_a_list_of_strings_and_never_read_out_of_anything_else(value):
    assert texts({}, "groups") == ()
    assert texts({"groups": ["a", "b"]}, "groups") == ("a", "b")
    with pytest.raises(InvalidClaim):
        texts({"groups": value}, "groups")


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b'"x"', b"\xff", b'{"sub":"a","sub":"b"}', b'{"exp":NaN}'])
def test_a_payload_that_is_no_set_of_claims_is_refused(payload):
    with pytest.raises(MalformedToken):
        parse_claims(payload)
