"""Pauses before a restart."""

import pytest

from infrastructure.local.backoff import Backoff

pytestmark = pytest.mark.unit


def test_pauses_double_from_a_fifth_of_a_second_to_half_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.after_run_of(1) for _ in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_a_run_of_a_minute_begins_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after_run_of(1)
    assert backoff.after_run_of(60) == 0.2
