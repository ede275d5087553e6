"""The arithmetic of revenue, against fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.mrr import revenue_of
from services.billing.repository import RevenueRow
from shared.money import month_of_year

pytestmark = pytest.mark.unit


@given(st.integers(0, 10**12))
def test_a_month_is_a_twelfth_rounded_half_to_even(arr: int) -> None:
    assert month_of_year(arr) == round(Fraction(arr, 12))


@pytest.mark.parametrize(("arr", "mrr"), [(0, 0), (12, 1), (6, 0), (18, 2), (30, 2), (100, 8)])
def test_halves_go_to_the_even_neighbour(arr: int, mrr: int) -> None:
    assert month_of_year(arr) == mrr


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_the_parts_sum_to_the_whole_and_none_is_off_by_a_unit(arrs: list[int]) -> None:
    (revenue,) = revenue_of([RevenueRow(str(i), "EUR", arr, 1, 1) for i, arr in enumerate(arrs)])
    assert revenue.arr == sum(arrs)
    assert sum(part.mrr for part in revenue.parts) == revenue.mrr == round(Fraction(sum(arrs), 12))
    if revenue.arr:
        scale = Fraction(revenue.mrr, revenue.arr)
        assert all(abs(part.mrr - part.arr * scale) < 1 for part in revenue.parts)


def test_currencies_are_never_added_up() -> None:
    rows = [RevenueRow("a", "EUR", 1200, 1, 2), RevenueRow("b", "NOK", 2400, 1, 3)]
    assert [(r.currency, r.mrr) for r in revenue_of(rows)] == [("EUR", 100), ("NOK", 200)]
