"""Money never gets lost: Hamilton's method against exact fractions, rounding against IEEE 754."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import Money, round_half_even, spread

pytestmark = pytest.mark.unit

WEIGHTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any)


def hamilton(total: int, weights: list[int]) -> list[int]:
    """The largest-remainder method as the literature states it: floors of exact quotas, then the largest remainders."""
    quotas = [Fraction(total * weight, sum(weights)) for weight in weights]
    parts = [quota.numerator // quota.denominator for quota in quotas]
    remainders = [(quota - part, -place) for place, (quota, part) in enumerate(zip(quotas, parts, strict=True))]
    for _, place in sorted(remainders, reverse=True)[: total - sum(parts)]:
        parts[-place] += 1
    return parts


@given(st.integers(-(10**12), 10**12), WEIGHTS)
def test_the_parts_sum_to_the_total_and_are_those_of_hamilton(total: int, weights: list[int]) -> None:
    parts = spread(total, weights)
    assert sum(parts) == total
    assert parts == hamilton(total, weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (1, [1, 1], [1, 0]),
        (-100, [1, 1, 1], [-33, -33, -34]),
        (0, [3, 4], [0, 0]),
        (5, [0, 1], [0, 5]),
        # The textbook example: quotas 4.7, 1.6, 1.58, 1.2, 0.6, 0.32 of ten seats.
        (10, [47_000, 16_000, 15_800, 12_000, 6_000, 3_200], [5, 2, 1, 1, 1, 0]),
    ],
)
def test_known_apportionments(total: int, weights: list[int], parts: list[int]) -> None:
    assert spread(total, weights) == parts


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [-1, 2], [5, -5]])
def test_weights_that_mean_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        spread(10, weights)


@given(st.integers(-(10**9), 10**9), st.integers(1, 1000))
def test_halves_go_to_the_even_neighbour(numerator: int, denominator: int) -> None:
    rounded = round_half_even(Fraction(numerator, denominator))
    distance = abs(Fraction(numerator, denominator) - rounded)
    assert distance < Fraction(1, 2) or (distance == Fraction(1, 2) and rounded % 2 == 0)


@pytest.mark.parametrize("text", ["0.5", "1.5", "2.5", "-0.5", "-1.5", "-2.5", "2.51", "2.49"])
def test_rounding_agrees_with_decimal_arithmetic(text: str) -> None:
    assert round_half_even(Fraction(text)) == int(Decimal(text).quantize(Decimal(1), ROUND_HALF_EVEN))


def test_amounts_of_two_currencies_are_neither_added_nor_compared() -> None:
    euro, dollar = Money(1, "EUR"), Money(2, "USD")
    for mix in (lambda: euro + dollar, lambda: euro - dollar, lambda: euro < dollar, lambda: max(euro, dollar)):
        with pytest.raises(ValueError, match="cannot mix"):
            mix()
    assert euro != Money(1, "USD")


def test_amounts_of_one_currency_add_and_compare() -> None:
    assert Money(1250, "EUR") + Money(-250, "EUR") == Money(1000, "EUR")
    assert Money(3, "EUR") * 4 - Money(2, "EUR") == Money(10, "EUR")
    assert max(Money(1, "EUR"), Money(3, "EUR"), Money(2, "EUR")) == Money(3, "EUR")


def test_there_is_no_float_and_no_half_currency() -> None:
    for minor in (1.0, True, "1"):
        with pytest.raises(TypeError):
            Money(minor, "EUR")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Money(100, "EUR") * 0.5  # type: ignore[operator]
    for currency in ("eur", "EURO", "EU", "", "EUR\n"):
        with pytest.raises(ValueError, match="ISO 4217"):
            Money(1, currency)
