"""What a PromQL expression asks for: metrics, labels of their selectors, labels that aggregations keep.

Reads as much of the language (Prometheus 2.42) as rules and dashboards use; what it does not know it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<range>\[[^\]]*\])
    |(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w:]))|(?P<name>[a-zA-Z_:][\w:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>])""",
    re.VERBOSE,
)
AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count"})
FUNCTIONS = frozenset({"rate", "increase", "histogram_quantile", "vector", "time", "absent", "min_over_time"})
OPERATORS = frozenset({"and", "or", "unless", "on", "ignoring", "bool"})


class Unknown(ValueError):
    """Something that this reader does not know."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric with the labels that its braces name."""

    metric: str
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """``sum by (kept) (…)``, with what is selected inside it."""

    kept: frozenset[str]
    inside: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A whole expression."""

    selectors: tuple[Selector, ...]
    aggregations: tuple[Aggregation, ...]


def read(text: str) -> Expression:
    """Return what ``text`` asks for.

    Raises:
        Unknown: a character, a function or a form that is not known here.
    """
    tokens = list(_tokens(text))
    aggregations = []
    for place, token in enumerate(tokens):
        if token in AGGREGATIONS:
            kept, begin = _kept(tokens, place + 1)
            aggregations.append(Aggregation(kept, tuple(_selectors(tokens[begin : _closing(tokens, begin)]))))
    return Expression(tuple(_selectors(tokens)), tuple(aggregations))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise Unknown(f"{text[place:]!r} of {text!r}")
        if match.lastgroup not in {"space", "range"}:
            yield match[0]
        place = match.end()


def _kept(tokens: list[str], place: int) -> tuple[frozenset[str], int]:
    """The labels of a ``by`` clause, and where the parenthesis of what is aggregated opens."""
    if tokens[place] != "by":
        return frozenset(), place
    end = tokens.index(")", place)
    return frozenset(tokens[place + 2 : end]) - {","}, end + 1


def _closing(tokens: list[str], opening: int) -> int:
    if tokens[opening] != "(":
        raise Unknown(f"an aggregation of {tokens[opening]!r}")
    depth = 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place] == "(") - (tokens[place] == ")")
        if depth == 0:
            return place
    raise Unknown("a parenthesis that is not closed")


def _selectors(tokens: list[str]) -> Iterator[Selector]:
    place = 0
    while place < len(tokens):
        token = tokens[place]
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        place += 1
        if not re.match(r"[a-zA-Z_:]", token) or token in OPERATORS:
            continue
        if token in AGGREGATIONS:
            _, place = _kept(tokens, place)
        elif following == "(":
            if token not in FUNCTIONS:
                raise Unknown(f"the function {token}")
        elif following == "{":
            end = tokens.index("}", place)
            matchers = [part for part in tokens[place + 1 : end] if part != ","]
            yield Selector(token, frozenset(matchers[::3]))
            place = end + 1
        else:
            yield Selector(token, frozenset())
