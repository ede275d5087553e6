"""Internal tokens: one for each person and service, made anew before they grow old."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.identity import Caller, Credentials
from shared.auth import InternalTokenIssuer, InternalTokenVerifier, ServicePrincipal
from shared.errors import Unauthenticated
from shared.testing import ManualClock, operator, public_keys, seed_of

pytestmark = pytest.mark.unit


def _made(clock: ManualClock) -> Credentials:
    return Credentials(InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), clock), clock)


def _token(line: bytes) -> str:
    assert line.startswith(b"authorization: Bearer ")
    assert line.endswith(b"\r\n")
    return line[len(b"authorization: Bearer ") : -2].decode()


def test_a_service_reads_the_person_that_the_gateway_means() -> None:
    clock, person = ManualClock(), operator()
    line = _made(clock).of_person(Caller(person), "tenant")
    assert InternalTokenVerifier("tenant", public_keys(), clock).verify(_token(line)) == person


def test_a_token_for_one_service_is_refused_by_another() -> None:
    clock = ManualClock()
    line = _made(clock).of_person(Caller(operator()), "tenant")
    with pytest.raises(Unauthenticated):
        InternalTokenVerifier("audit", public_keys(), clock).verify(_token(line))


def test_a_token_is_used_again_for_45_seconds_and_always_has_15_left() -> None:
    clock = ManualClock()
    credentials, caller = _made(clock), Caller(operator())
    first = credentials.of_person(caller, "tenant")
    clock.advance(timedelta(seconds=44.9))
    assert credentials.of_person(caller, "tenant") is first
    assert credentials.of_person(caller, "audit") != first
    clock.advance(timedelta(seconds=14.9))  # 59.8: its last moment at the service
    InternalTokenVerifier("tenant", public_keys(), clock).verify(_token(first))
    clock.advance(timedelta(seconds=-14.8))
    second = credentials.of_person(caller, "tenant")
    assert second != first


def test_a_clock_that_was_set_back_makes_a_new_token() -> None:
    clock = ManualClock()
    credentials, caller = _made(clock), Caller(operator())
    first = credentials.of_person(caller, "tenant")
    clock.advance(timedelta(hours=-1))
    second = credentials.of_person(caller, "tenant")
    assert second != first
    InternalTokenVerifier("tenant", public_keys(), clock).verify(_token(second))


def test_another_entry_of_the_directory_is_another_token() -> None:
    clock = ManualClock()
    credentials = _made(clock)
    old, new = operator(version=1), operator(version=2)
    assert credentials.of_person(Caller(old), "tenant") != credentials.of_person(Caller(new), "tenant")


def test_the_gateway_speaks_for_itself_as_a_service() -> None:
    clock = ManualClock()
    line = _made(clock).of_gateway("tenant")
    found = InternalTokenVerifier("tenant", public_keys(), clock).verify(_token(line))
    assert found == ServicePrincipal(name="gateway")
