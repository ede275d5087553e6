"""Injected faults, seen from the socket."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import httpx
import pytest

from tests.sandbox.authentik.process import DEADLINE_SECONDS, TOKEN, StandIn

LIVE = "/-/health/live/"
JWKS = "/application/o/dezky-portal/jwks/"
FAULTS = "/_sandbox/faults"


@pytest.fixture(autouse=True)
def no_faults_left(authentik: StandIn) -> Iterator[None]:
    yield
    assert authentik.http.delete(FAULTS).status_code == 204


def inject(authentik: StandIn, effect: str, **members: Any) -> None:
    answer = authentik.http.post(FAULTS, json={"effect": effect, **members})
    assert answer.status_code == 201, answer.text


def struck(authentik: StandIn) -> list[int]:
    return [fault["struck"] for fault in authentik.get(FAULTS).json()]


def service_accounts(authentik: StandIn) -> int:
    with closing(sqlite3.connect(authentik.state / "authentik.sqlite3")) as store:
        count: int = store.execute("SELECT count(*) FROM users WHERE type = 'service_account'").fetchone()[0]
        return count


def first_use_of_the_client_secret(authentik: StandIn) -> httpx.Response:
    """Its effect, seen in the store, is the application's service account."""
    form = {
        "grant_type": "client_credentials",
        "client_id": "dezky-portal",
        "client_secret": "secret-of-the-portal-app",
    }
    return authentik.http.post(TOKEN, data=form)


def test_a_dropped_request_is_not_done_and_a_lost_reply_is(own: StandIn) -> None:
    own.start()
    inject(own, "drop", count=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        first_use_of_the_client_secret(own)
    assert service_accounts(own) == 0

    inject(own, "lose_reply", count=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        first_use_of_the_client_secret(own)
    assert service_accounts(own) == 1

    assert first_use_of_the_client_secret(own).status_code == 200
    assert service_accounts(own) == 1


@pytest.mark.parametrize("effect", ["error", "throttle"])
def test_a_refused_request_is_not_done(own: StandIn, effect: str) -> None:
    own.start()
    inject(own, effect)
    assert first_use_of_the_client_secret(own).status_code in {500, 429}
    assert service_accounts(own) == 0


def test_an_error_is_500(authentik: StandIn) -> None:
    inject(authentik, "error")
    assert authentik.get(LIVE).status_code == 500


def test_throttling_is_429_with_retry_after(authentik: StandIn) -> None:
    inject(authentik, "throttle", retryAfterSeconds=7)
    answer = authentik.get(LIVE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_a_count_ends_a_fault(authentik: StandIn) -> None:
    inject(authentik, "error", count=2)
    assert [authentik.get(LIVE).status_code for _ in range(4)] == [500, 500, 200, 200]


def test_only_the_path_prefix_is_struck(authentik: StandIn) -> None:
    inject(authentik, "error", pathPrefix="/application/")
    assert (authentik.get(LIVE).status_code, authentik.get(JWKS).status_code) == (200, 500)


def test_only_the_method_is_struck(authentik: StandIn) -> None:
    inject(authentik, "error", method="POST")
    assert authentik.get(JWKS).status_code == 200
    assert authentik.http.post(TOKEN).status_code == 500


def test_of_several_faults_the_first_strikes_while_it_lasts(authentik: StandIn) -> None:
    inject(authentik, "error", count=1)
    inject(authentik, "throttle", count=1)
    assert [authentik.get(LIVE).status_code for _ in range(3)] == [500, 429, 200]
    assert struck(authentik) == [1, 1]


@pytest.mark.parametrize("seed", [1, 2])
def test_chance_is_repeated_by_its_seed(authentik: StandIn, seed: int) -> None:
    chance = Random(seed)
    expected = [500 if chance.random() < 0.4 else 200 for _ in range(40)]
    inject(authentik, "error", probability=0.4, seed=seed)
    assert [authentik.get(LIVE).status_code for _ in range(40)] == expected


def test_latency_comes_before_the_answer(authentik: StandIn) -> None:
    inject(authentik, "delay", latencyMs=300)
    began = time.monotonic()
    assert authentik.get(LIVE).status_code == 200
    assert time.monotonic() - began >= 0.3


def test_latency_goes_with_every_effect(authentik: StandIn) -> None:
    inject(authentik, "throttle", latencyMs=300)
    began = time.monotonic()
    assert authentik.get(LIVE).status_code == 429
    assert time.monotonic() - began >= 0.3


def test_removing_the_faults_ends_a_delay_in_progress(authentik: StandIn) -> None:
    inject(authentik, "delay", latencyMs=600_000)
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(authentik.http.get(LIVE, timeout=DEADLINE_SECONDS).status_code)
    )
    waiting.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while struck(authentik) != [1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    authentik.http.delete(FAULTS)
    waiting.join(DEADLINE_SECONDS)
    assert answers == [200]


def test_removed_faults_strike_no_more(authentik: StandIn) -> None:
    inject(authentik, "drop")
    authentik.http.delete(FAULTS)
    assert authentik.get(LIVE).status_code == 200
    assert authentik.get(FAULTS).json() == []


def test_requests_are_recorded_with_status_and_effect(authentik: StandIn) -> None:
    seen = authentik.get("/_sandbox/requests").json()
    last = seen[-1]["sequence"] if seen else 0
    authentik.get(LIVE)
    inject(authentik, "drop", count=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        authentik.http.post(f"{TOKEN}?client_secret=never-recorded")
    recorded = [entry for entry in authentik.get("/_sandbox/requests").json() if entry["sequence"] > last]
    assert recorded == [
        {"sequence": last + 1, "method": "GET", "path": LIVE, "status": 200, "effect": None},
        {"sequence": last + 2, "method": "POST", "path": TOKEN, "status": None, "effect": "drop"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"effect": "explode"},
        {"effect": "error", "probabilty": 0.5},
        {"effect": "error", "probability": 0},
        {"effect": "error", "count": 0},
        {"effect": "error", "pathPrefix": "application/"},
        {"effect": "error", "method": "post"},
    ],
)
def test_a_mistyped_fault_is_refused(authentik: StandIn, body: dict[str, Any]) -> None:
    assert authentik.http.post(FAULTS, json=body).status_code == 422
    assert authentik.get(FAULTS).json() == []


def test_a_browser_form_cannot_inject(authentik: StandIn) -> None:
    content = b'{"effect":"error"}'
    answer = authentik.http.post(FAULTS, content=content, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert authentik.get(LIVE).status_code == 200
