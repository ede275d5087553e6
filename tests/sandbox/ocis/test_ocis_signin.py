"""Signing in with tokens of the identity provider, and the users that this creates."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.ocis.process import GRAPH, Issuer, Ocis, base64url, code

ME = f"{GRAPH}/me"


def test_the_first_sign_in_creates_the_user_and_the_personal_space(ocis: Ocis, issuer: Issuer) -> None:
    assert ocis.send("GET", f"{GRAPH}/users/newcomer").status_code == 404
    me = ocis.get(ME, issuer.token("newcomer"))
    assert (me["onPremisesSamAccountName"], me["mail"], me["displayName"]) == (
        "newcomer",
        "newcomer@acme.example",
        "Newcomer",
    )
    assert ocis.get(f"{GRAPH}/users/newcomer?$expand=drive")["drive"]["driveType"] == "personal"
    assert ocis.get(ME, issuer.token("newcomer"))["id"] == me["id"]


def test_later_sign_ins_bring_name_and_address_up_to_date(ocis: Ocis, issuer: Issuer) -> None:
    before = ocis.get(ME, issuer.token("wed"))
    after = ocis.get(ME, issuer.token("wed", email="wed@new.example", name="Wed Married"))
    assert after == {**before, "mail": "wed@new.example", "displayName": "Wed Married", "surname": "Wed Married"}


def test_a_disabled_user_is_401_until_enabled(ocis: Ocis, issuer: Issuer) -> None:
    token = issuer.token("off")
    identity = ocis.get(ME, token)["id"]
    assert ocis.send("PATCH", f"{GRAPH}/users/{identity}", {"accountEnabled": False}).status_code == 200
    assert code(ocis.send("GET", ME, token=token)) == (401, "unauthenticated")
    assert ocis.send("PATCH", f"{GRAPH}/users/{identity}", {"accountEnabled": True}).status_code == 200
    assert ocis.get(ME, token)["id"] == identity


@pytest.mark.parametrize("claim", ["preferred_username", "email", "name"])
def test_a_missing_claim_is_a_general_exception(ocis: Ocis, issuer: Issuer, claim: str) -> None:
    token = issuer.token("unnamed", **{claim: None})
    assert code(ocis.send("GET", ME, token=token)) == (500, "generalException")
    assert ocis.send("GET", f"{GRAPH}/users/unnamed").status_code == 404


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://127.0.0.1:1/application/o/portal/"},
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_claims_that_do_not_hold_are_401(ocis: Ocis, issuer: Issuer, claims: dict[str, Any]) -> None:
    assert code(ocis.send("GET", ME, token=issuer.token("claims", **claims))) == (401, "unauthenticated")


def test_a_signature_that_does_not_hold_is_401(ocis: Ocis, issuer: Issuer) -> None:
    head, body, signature = issuer.token("forger").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = base64url(json.dumps({**claims, "preferred_username": "admin"}).encode())
    unsigned = base64url(json.dumps({"alg": "none"}).encode())
    for token in (f"{head}.{changed}.{signature}", f"{unsigned}.{changed}.", f"{head}.{body}.", "x", "a.b.c"):
        assert code(ocis.send("GET", ME, token=token)) == (401, "unauthenticated")
    for algorithm in ("HS256", "ES256", "RS512"):
        token = issuer.token("forger", header={"alg": algorithm})
        assert code(ocis.send("GET", ME, token=token)) == (401, "unauthenticated")


def test_a_name_of_the_administrator_gives_no_more_than_a_user_has(ocis: Ocis, issuer: Issuer) -> None:
    token = issuer.token("admin", email="admin@example.org", name="Admin")
    assert code(ocis.send("GET", f"{GRAPH}/groups", token=token)) == (403, "accessDenied")


def test_without_or_with_other_credentials_there_is_401(ocis: Ocis) -> None:
    assert code(ocis.http.get(ME)) == (401, "unauthenticated")
    answer = ocis.http.get(ME, auth=("admin", "admin"))
    assert code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_new_key_is_fetched_and_a_made_up_one_not_each_time(own: Callable[..., Ocis]) -> None:
    provider = Issuer()
    try:
        instance = own(issuer=provider.issuer)
        instance.start()
        assert instance.send("GET", ME, token=provider.token("rotate")).status_code == 200
        asked = len(provider.asked)
        for number in range(10):
            assert instance.send("GET", ME, token=provider.token("x", header={"kid": f"k{number}"})).status_code == 401
        assert len(provider.asked) <= asked + 2
        provider.rotate("second")
        deadline = time.monotonic() + 20
        while instance.send("GET", ME, token=provider.token("rotate")).status_code != 200:
            assert time.monotonic() < deadline, "the new key was never fetched"
            time.sleep(0.05)
    finally:
        provider.shutdown()
        provider.server_close()


def test_an_issuer_that_is_away_lets_nobody_in(own: Callable[..., Ocis], issuer: Issuer) -> None:
    instance = own(issuer="http://127.0.0.1:9/application/o/portal/")
    instance.start()
    token = issuer.token("x", iss="http://127.0.0.1:9/application/o/portal/")
    assert code(instance.send("GET", ME, token=token)) == (401, "unauthenticated")


def test_who_is_unknown_stays_out_without_provisioning_and_groups_follow_with_it(
    own: Callable[..., Ocis], issuer: Issuer
) -> None:
    instance = own(issuer=issuer.issuer, autoprovision=False, groupsClaim="groups")
    instance.start()
    token = issuer.token("member", groups=["acme", "everybody"])
    assert code(instance.send("GET", ME, token=token)) == (401, "unauthenticated")
    instance.user("member")
    instance.group("everybody")
    instance.get(ME, token)
    shown = instance.get(f"{GRAPH}/users/member?$expand=memberOf")["memberOf"]
    assert {group["displayName"] for group in shown} == {"acme", "everybody"}
    # Synced at most every five minutes.
    instance.get(ME, issuer.token("member", groups=[]))
    assert len(instance.get(f"{GRAPH}/users/member?$expand=memberOf")["memberOf"]) == 2


def test_groups_are_left_alone_unless_their_claim_is_configured(ocis: Ocis, issuer: Issuer) -> None:
    ocis.get(ME, issuer.token("alone", groups=["made-up"]))
    assert ocis.get(f"{GRAPH}/users/alone?$expand=memberOf")["memberOf"] == []
