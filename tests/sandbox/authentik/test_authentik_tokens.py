"""The wire of the OAuth2 provider, as Authentik's pages on OAuth2 and machine-to-machine describe it."""

import base64
import re
import time
from typing import Any

import httpx
import pytest

from tests.sandbox.authentik.process import (
    ADMINS,
    MEMBER,
    OPERATOR,
    TOKEN,
    StandIn,
    from_base64url,
    header_of,
    verified_claims,
)


@pytest.mark.parametrize("slug", ["dezky-operator", "dezky-portal"])
def test_each_application_is_an_issuer_of_its_own_with_a_trailing_slash(authentik: StandIn, slug: str) -> None:
    document = authentik.get(f"/application/o/{slug}/.well-known/openid-configuration").json()
    assert document["issuer"] == f"{authentik.url}/application/o/{slug}/"
    assert document["jwks_uri"] == f"{authentik.url}/application/o/{slug}/jwks/"
    assert document["token_endpoint"] == f"{authentik.url}/application/o/token/"
    assert document["authorization_endpoint"] == f"{authentik.url}/application/o/authorize/"
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert document["response_types_supported"] == ["code"]
    assert document["subject_types_supported"] == ["public"]


def test_the_key_set_holds_one_public_rs256_key_of_2048_bits(authentik: StandIn) -> None:
    (key,) = authentik.jwks("dezky-operator")["keys"]
    assert {name: key[name] for name in ("kty", "alg", "use", "e")} == {
        "kty": "RSA",
        "alg": "RS256",
        "use": "sig",
        "e": "AQAB",
    }
    assert len(from_base64url(key["n"])) * 8 == 2048
    # RFC 7518 section 6.3.2: the members of a private key.
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth"} & key.keys()
    assert authentik.jwks("dezky-portal")["keys"] == [key]


def test_an_access_token_carries_the_documented_claims(authentik: StandIn) -> None:
    before = int(time.time())
    answer = authentik.token("dezky-operator", OPERATOR, scope="openid profile email").json()
    token = answer["access_token"]
    claims = verified_claims(token, authentik.jwks("dezky-operator"))

    assert header_of(token) == {
        "alg": "RS256",
        "typ": "JWT",
        "kid": authentik.jwks("dezky-operator")["keys"][0]["kid"],
    }
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 300)
    assert answer["scope"] == claims["scope"] == "openid profile email"
    assert before <= claims["iat"] <= int(time.time())
    assert claims["exp"] - claims["iat"] == 300
    assert claims["auth_time"] == claims["iat"]
    assert re.fullmatch(r"[0-9a-f]{64}", claims["sub"])
    assert claims["uid"]
    chance = {"iat", "exp", "auth_time", "sub", "uid"}
    assert {name: value for name, value in claims.items() if name not in chance} == {
        "iss": f"{authentik.url}/application/o/dezky-operator/",
        "aud": "dezky-operator",
        "acr": "goauthentik.io/providers/oauth2/default",
        "amr": ["pwd"],
        "azp": "dezky-operator",
        "scope": "openid profile email",
        "email": "operator@dezky.local",
        "email_verified": False,
        "name": "Ola Operator",
        "given_name": "Ola Operator",
        "preferred_username": "operator@dezky.local",
        "nickname": "operator@dezky.local",
        "groups": [ADMINS, "everybody"],
    }


def test_only_the_access_token_says_scope(authentik: StandIn) -> None:
    answer = authentik.token("dezky-portal", MEMBER, scope="openid").json()
    claims = verified_claims(answer["id_token"], authentik.jwks("dezky-portal"))
    assert header_of(answer["id_token"])["typ"] == "JWT"
    assert not {"scope", "azp", "uid"} & claims.keys()


def test_claims_about_the_person_need_their_scope(authentik: StandIn) -> None:
    bare = authentik.claims("dezky-portal", MEMBER)
    assert bare["scope"] == ""
    assert not {"name", "given_name", "preferred_username", "nickname", "groups", "email"} & bare.keys()
    assert "groups" not in authentik.claims("dezky-portal", MEMBER, "email")
    assert "email" not in authentik.claims("dezky-portal", MEMBER, "profile")


def test_an_unknown_scope_is_dropped(authentik: StandIn) -> None:
    assert authentik.claims("dezky-portal", MEMBER, "profile everything")["scope"] == "profile"


def test_a_person_has_one_subject_in_all_applications(authentik: StandIn) -> None:
    subject = authentik.claims("dezky-operator", OPERATOR)["sub"]
    assert authentik.claims("dezky-portal", OPERATOR)["sub"] == subject
    assert authentik.claims("dezky-portal", MEMBER)["sub"] != subject


def test_the_password_grant_means_the_same(authentik: StandIn) -> None:
    assert authentik.token("dezky-portal", MEMBER, grant_type="password").status_code == 200


def assert_refused(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 400
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"error", "error_description", "request_id"}
    assert body["error"] == code
    assert body["error_description"]
    assert re.fullmatch(r"[0-9a-f]{32}", body["request_id"])
    assert answer.headers["cache-control"] == "no-store"


def test_a_bound_application_admits_only_its_group(authentik: StandIn) -> None:
    assert_refused(authentik.token("dezky-operator", MEMBER), "invalid_grant")
    assert authentik.token("dezky-portal", MEMBER).status_code == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"password": "wrong"}, "invalid_grant"),
        ({"password": ""}, "invalid_grant"),
        ({"password": OPERATOR["appPassword"]}, "invalid_grant"),
        ({"password": MEMBER["password"]}, "invalid_grant"),
        ({"username": "nobody@acme.example"}, "invalid_grant"),
        ({"username": "Member@acme.example"}, "invalid_grant"),
        ({"client_id": "unknown"}, "invalid_client"),
        ({"client_id": ""}, "invalid_client"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
    ],
)
def test_a_wrong_request_is_refused(authentik: StandIn, fields: dict[str, str], code: str) -> None:
    assert_refused(authentik.token("dezky-portal", MEMBER, **fields), code)


def test_a_body_that_is_no_form_names_no_client(authentik: StandIn) -> None:
    form = {"grant_type": "client_credentials", "client_id": "dezky-portal"}
    assert_refused(authentik.http.post(TOKEN, json=form), "invalid_client")


def test_a_body_that_is_no_text_is_malformed(authentik: StandIn) -> None:
    assert_refused(authentik.http.post(TOKEN, content=b"client_id=\xff"), "invalid_request")


def with_secret(authentik: StandIn, client_id: str, secret: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return authentik.http.post(TOKEN, data=form | {"scope": "profile"})


def test_a_person_may_come_base64_encoded_in_the_client_secret(authentik: StandIn) -> None:
    secret = base64.b64encode(f"{MEMBER['username']}:{MEMBER['appPassword']}".encode()).decode()
    answer = with_secret(authentik, "dezky-portal", secret)
    claims = verified_claims(answer.json()["access_token"], authentik.jwks("dezky-portal"))
    assert claims["preferred_username"] == MEMBER["username"]
    assert_refused(with_secret(authentik, "dezky-operator", secret), "invalid_grant")


def test_the_client_secret_stands_for_a_service_account_of_the_application(authentik: StandIn) -> None:
    tokens = [with_secret(authentik, "dezky-portal", "secret-of-the-portal-app").json() for _ in range(2)]
    first, second = (verified_claims(token["access_token"], authentik.jwks("dezky-portal")) for token in tokens)
    assert first["preferred_username"] == "ak-Dezky portal-client_credentials"
    assert first["sub"] == second["sub"]
    assert first["groups"] == []


def test_the_client_secret_may_come_by_http_basic(authentik: StandIn) -> None:
    answer = authentik.http.post(
        TOKEN,
        data={"grant_type": "client_credentials"},
        auth=("dezky-portal", "secret-of-the-portal-app"),
    )
    assert answer.status_code == 200


def test_unreadable_http_basic_names_no_client(authentik: StandIn) -> None:
    answer = authentik.http.post(
        TOKEN,
        data={"grant_type": "client_credentials", "client_id": "dezky-portal"},
        headers={"Authorization": "Basic ***"},
    )
    assert_refused(answer, "invalid_client")


@pytest.mark.parametrize("secret", ["wrong", "", "secret-of-the-operator-app", "//79"])
def test_a_wrong_client_secret_is_an_invalid_grant(authentik: StandIn, secret: str) -> None:
    assert_refused(with_secret(authentik, "dezky-portal", secret), "invalid_grant")


def test_the_service_account_of_a_bound_application_is_outside_its_group(authentik: StandIn) -> None:
    assert_refused(with_secret(authentik, "dezky-operator", "secret-of-the-operator-app"), "invalid_grant")


@pytest.mark.parametrize(
    "path",
    [
        "/application/o/dezky-portal/jwks",
        "/application/o/dezky-portal/.well-known/openid-configuration/",
        "/application/o/token",
        "/-/health/live",
        "/-/health/ready",
        "/application/o/unknown/jwks/",
        "/application/o/unknown/.well-known/openid-configuration",
    ],
)
def test_a_path_with_a_wrong_ending_or_application_is_not_found(authentik: StandIn, path: str) -> None:
    assert authentik.get(path).status_code == 404


def test_a_token_request_without_the_trailing_slash_is_not_found(authentik: StandIn) -> None:
    assert authentik.http.post("/application/o/token").status_code == 404


def test_the_token_endpoint_takes_only_post(authentik: StandIn) -> None:
    assert authentik.get(TOKEN).status_code == 405


def test_health_answers_without_credentials(authentik: StandIn) -> None:
    assert authentik.get("/-/health/live/").status_code == 200
    assert authentik.get("/-/health/ready/").status_code == 200
