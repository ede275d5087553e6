"""Internal tokens (JWS, RFC 7515 and RFC 8037), judged by tokens that are put together here by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.auth import InternalTokenIssuer, InternalTokenVerifier, Person, ServicePrincipal
from shared.errors import Unauthenticated
from shared.testing import ManualClock, operator, partner_person, public_keys, seed_of, tenant_person

pytestmark = pytest.mark.unit

CLOCK = ManualClock()
NOW = int(CLOCK.now().timestamp())
HEADER = {"alg": "EdDSA", "kid": "gateway-1", "typ": "dezky-internal+jwt"}
JANE = {"kind": "person", "id": "p-1", "subject": "s-1", "email": "jane@acme.example", "name": "Jane"}
JANE["surface"] = "portal"
CLAIMS = {"iss": "gateway", "aud": "tenant", "iat": NOW, "exp": NOW + 60, "jti": "j-1", "principal": JANE}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(header: Any = HEADER, claims: Any = CLAIMS, signer: str = "gateway") -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    key = Ed25519PrivateKey.from_private_bytes(seed_of(signer))
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def verifier(audience: str = "tenant", clock: Any = CLOCK) -> InternalTokenVerifier:
    return InternalTokenVerifier(audience, public_keys(), clock)


def test_a_token_made_by_hand_is_accepted() -> None:
    person = verifier().verify(token())
    assert isinstance(person, Person)
    assert (person.id, person.email, person.is_operator, person.partner, person.tenants) == (
        "p-1", "jane@acme.example", False, None, {},
    )  # fmt: skip


@pytest.mark.parametrize("principal", [operator(), partner_person("nordic", "owner"), tenant_person("acme", "member")])
def test_a_principal_arrives_as_it_was_sent(principal: Person) -> None:
    issued = InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), CLOCK).issue("tenant", principal)
    assert verifier().verify(issued) == principal


def test_a_service_speaks_for_itself() -> None:
    issued = InternalTokenIssuer("billing", "billing-1", seed_of("billing"), CLOCK).issue("tenant")
    assert verifier().verify(issued) == ServicePrincipal(name="billing")


def test_a_token_lasts_sixty_seconds_and_names_its_audience() -> None:
    issued = InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), CLOCK).issue("tenant", operator())
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in issued.split(".")[:2])
    assert header == HEADER
    assert (claims["iss"], claims["aud"], claims["iat"], claims["exp"]) == ("gateway", "tenant", NOW, NOW + 60)


BILLING = {**HEADER, "kid": "billing-1"}
SERVICE = {"kind": "service", "name": "tenant"}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: token(signer="billing"), id="signed by another key"),
        pytest.param(lambda: token({**HEADER, "kid": "billing-1"}), id="kid of another key"),
        pytest.param(lambda: token({**HEADER, "kid": "nobody-1"}), id="unknown kid"),
        pytest.param(lambda: token({**HEADER, "kid": ["gateway-1"]}), id="kid is a list"),
        pytest.param(lambda: token({k: v for k, v in HEADER.items() if k != "kid"}), id="no kid"),
        pytest.param(lambda: token({**HEADER, "alg": "none"}), id="alg none, signed"),
        pytest.param(lambda: token({**HEADER, "alg": "none"}).rpartition(".")[0] + ".", id="alg none, unsigned"),
        pytest.param(lambda: token({**HEADER, "alg": "HS256"}), id="alg HS256"),
        pytest.param(lambda: token({**HEADER, "alg": "eddsa"}), id="alg in lower case"),
        pytest.param(lambda: token({k: v for k, v in HEADER.items() if k != "alg"}), id="no alg"),
        pytest.param(lambda: token({**HEADER, "typ": "JWT"}), id="typ JWT"),
        pytest.param(lambda: token({k: v for k, v in HEADER.items() if k != "typ"}), id="no typ"),
        pytest.param(lambda: token(["EdDSA"]), id="header is a list"),
        pytest.param(lambda: token(claims={**CLAIMS, "aud": "audit"}), id="other audience"),
        pytest.param(lambda: token(claims={**CLAIMS, "aud": ["tenant", "audit"]}), id="many audiences"),
        pytest.param(lambda: token(claims={k: v for k, v in CLAIMS.items() if k != "aud"}), id="no audience"),
        pytest.param(lambda: token(claims={**CLAIMS, "iss": "tenant"}), id="other issuer"),
        pytest.param(lambda: token(claims={**CLAIMS, "iat": NOW - 61, "exp": NOW}), id="expires now"),
        pytest.param(lambda: token(claims={**CLAIMS, "exp": NOW + 61}), id="lives 61 s"),
        pytest.param(lambda: token(claims={**CLAIMS, "iat": NOW + 6, "exp": NOW + 60}), id="from the future"),
        pytest.param(lambda: token(claims={**CLAIMS, "exp": NOW + 60.5}), id="exp is no whole number"),
        pytest.param(lambda: token(claims={**CLAIMS, "exp": str(NOW + 60)}), id="exp is text"),
        pytest.param(lambda: token(claims={**CLAIMS, "iat": True}), id="iat is a truth value"),
        pytest.param(lambda: token(claims={k: v for k, v in CLAIMS.items() if k != "exp"}), id="no exp"),
        pytest.param(lambda: token(claims={k: v for k, v in CLAIMS.items() if k != "iat"}), id="no iat"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": None}), id="no principal"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": "jane"}), id="principal is text"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": {**JANE, "kind": "root"}}), id="unknown kind"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": {**JANE, "surface": "root"}}), id="unknown surface"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": {"kind": "person"}}), id="empty person"),
        pytest.param(lambda: token(claims={**CLAIMS, "principal": SERVICE}), id="gateway as another service"),
        pytest.param(lambda: token(claims=[CLAIMS]), id="claims are a list"),
        pytest.param(
            lambda: token(BILLING, {**CLAIMS, "iss": "billing"}, "billing"),
            id="a service's key carries a person",
        ),
        pytest.param(
            lambda: token(BILLING, {**CLAIMS, "iss": "billing", "principal": SERVICE}, "billing"),
            id="a service's key names another service",
        ),
        pytest.param(lambda: token(BILLING, CLAIMS, "billing"), id="a service's key says iss gateway"),
        pytest.param(lambda: token() + "A", id="longer signature"),
        pytest.param(lambda: token().rpartition(".")[0], id="no signature"),
        pytest.param(lambda: "." + token(), id="four parts"),
        pytest.param(lambda: token().replace(".", " ", 1), id="blank for a dot"),
        pytest.param(lambda: "", id="nothing"),
        pytest.param(lambda: "..", id="dots"),
        pytest.param(lambda: "é.é.é", id="no ASCII"),
    ],
)
def test_a_token_that_is_wrong_in_one_way_is_refused(bad: Callable[[], str]) -> None:
    assert isinstance(verifier().verify(token()), Person)
    with pytest.raises(Unauthenticated) as refused:
        verifier().verify(bad())
    assert "jane" not in str(refused.value).lower()


def test_no_bit_of_a_token_can_be_changed() -> None:
    good = token()
    raw = [bytearray(base64.urlsafe_b64decode(part + "==")) for part in good.split(".")]
    checker = verifier()
    for part in range(3):
        for place in range(len(raw[part])):
            raw[part][place] ^= 1
            with pytest.raises(Unauthenticated):
                checker.verify(".".join(b64(bytes(r)) for r in raw))
            raw[part][place] ^= 1


@given(st.text(max_size=300))
def test_no_text_is_a_token_or_breaks_the_verifier(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier().verify(text.encode("utf-8", "replace").decode())


def test_a_token_that_was_seen_before_ends_with_its_own_expiry() -> None:
    clock = ManualClock()
    checker = verifier(clock=clock)
    known = token()
    clock.advance(timedelta(seconds=59.999))
    assert checker.verify(known) == checker.verify(known)
    clock.advance(timedelta(milliseconds=1))
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            checker.verify(known)


def test_a_cached_token_is_remembered_by_the_whole_of_it() -> None:
    checker = verifier()
    good = token()
    assert isinstance(checker.verify(good), Person)
    with pytest.raises(Unauthenticated):
        checker.verify(good[:-8] + ("A" * 8))


def test_a_clock_that_is_five_seconds_behind_the_gateways_is_borne() -> None:
    person = verifier().verify(token(claims={**CLAIMS, "iat": NOW + 5, "exp": NOW + 65}))
    assert isinstance(person, Person)


def test_two_keys_of_one_owner_are_valid_at_once() -> None:
    keys = {**public_keys(), "gateway-2": public_keys()["billing-1"].model_copy(update={"owner": "gateway"})}
    checker = InternalTokenVerifier("tenant", keys, CLOCK)
    for known in (token(), token({**HEADER, "kid": "gateway-2"}, signer="billing")):
        assert isinstance(checker.verify(known), Person)


def test_an_operator_is_the_surface_and_the_group_together() -> None:
    assert operator().is_operator
    assert not operator(surface="portal").is_operator
    assert not operator(platform_admin=False).is_operator
    assert operator().identity != operator(surface="portal").identity
