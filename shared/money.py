"""Money: integer minor units and an ISO 4217 currency. There is no float anywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_CURRENCY = re.compile(r"[A-Z]{3}")


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of a currency: ``Money(1250, "EUR")`` is twelve euro fifty.

    Adding, subtracting or ordering two currencies raises ValueError: neither is more than the other.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError("minor units are whole numbers")
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"{self.currency!r} is no ISO 4217 code")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(self.minor * times, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.minor < other.minor

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` by ``weights`` with the largest-remainder method (Hamilton): the parts sum to the total.

    Equal remainders go to the earlier part.

    Raises:
        ValueError: no weight is positive, or one is negative.
    """
    weight = sum(weights)
    if weight <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative and must not all be zero")
    parts = [total * w // weight for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % weight))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` as ``spread`` does; where no weight is positive nobody gets anything."""
    return spread(total, weights) if any(weights) else [0] * len(weights)


def month_of_year(yearly: int) -> int:
    """Return a twelfth of a year's amount in whole minor units, halves to the even neighbour.

    Whoever shows what recurs per month takes it from here, so that two services say the same of the same year.
    """
    return round_half_even(Fraction(yearly, 12))


def round_half_even(amount: Fraction) -> int:
    """Round an exact amount to whole minor units, halves to the even neighbour (IEEE 754 roundTiesToEven)."""
    return round(amount)
