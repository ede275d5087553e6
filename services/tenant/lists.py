"""How a list of tenants is read: which index is walked for which filters. Nothing here speaks to the database.

An index gives rows by slug only if everything before the slug in it is equal, or one of a few values that are merged.
So a search is by stored beginnings of words and not by a range of words, and a status that is not asked for is each of
the five. What no index holds beside a search (the plan, further words, what comes after the eighth character) is
looked for in the rows. ``docs/adr/0016-lists-of-tenants.md`` weighs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from services.tenant.scope import Scope
from shared.contracts.tenant import TenantStatus
from shared.mongo import Document, Index, starts_with
from shared.search import LONGEST_PREFIX, words_of

Keys = Sequence[tuple[str, int]]


def _by(*names: str) -> Keys:
    return [(name, 1) for name in (*names, "slug")]


LIST_INDEXES: Sequence[Index] = [
    Index(_by("status")),
    Index(_by("partner", "status")),
    Index(_by("plan", "status")),
    Index(_by("partner", "plan", "status")),
    Index(_by("prefixes", "status")),
    Index(_by("partner", "prefixes", "status")),
]
MAX_CHOICES = 3
"""How many words of a search are tried, the longest first."""

_ANY_PARTNER: Document = {"$ne": None}
_ANY_STATUS: Document = {"$in": list(get_args(TenantStatus))}

_LENGTHS: Document = {"$range": [1, {"$add": [{"$min": [LONGEST_PREFIX, {"$strLenCP": "$$this"}]}, 1]}]}
_BEGINNINGS: Document = {"$map": {"input": _LENGTHS, "as": "end", "in": {"$substrCP": ["$$this", 0, "$$end"]}}}
PREFIXES_IN_MONGODB: Document = {
    "$setUnion": {"$reduce": {"input": "$words", "initialValue": [], "in": {"$concatArrays": ["$$value", _BEGINNINGS]}}}
}
"""What ``prefixes_of`` makes, made of the stored words."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows that ``query`` finds along ``index``, which gives them by slug."""

    query: Document
    index: Keys

    @property
    def keys(self) -> Document:
        """The part of the query that the index answers alone."""
        return {name: self.query[name] for name, _ in self.index if name in self.query}

    @property
    def rest(self) -> Document:
        """The part that is looked for in the rows."""
        return {name: condition for name, condition in self.query.items() if name not in self.keys}


Choice = list[Walk]
"""Walks that find the same, some sooner than others: nobody knows before which."""


def walks(scope: Scope, only: Mapping[str, Any], after: str | None) -> list[Choice]:
    """Return the choices of walks that together find the tenants of a list; one row may be found by two of them.

    ``only`` are filters by name: status, plan, partner, detached, q. ``after``: the slug that the page before ended
    with.
    """
    words = _telling(words_of(only.get("q") or ""))
    owners = _owners(only)
    if owners is None or (only.get("q") and not words):
        return []
    query = {name: only[name] for name in ("status", "plan") if name in only}
    beyond: Document = {"slug": {"$gt": after}} if after is not None else {}
    if scope.everything:
        return [_choice({**query, **owners, **beyond}, words)]
    found = []
    if scope.partner is not None and only.get("partner", scope.partner) == scope.partner and not only.get("detached"):
        found.append(_choice({**query, "partner": scope.partner, **beyond}, words))
    if named := [slug for slug in scope.tenants if after is None or slug > after]:
        found.append([Walk({**query, **owners, "slug": {"$in": named}, **_all_of(words)}, _by())])
    return found


def _telling(words: Sequence[str]) -> list[str]:
    """Return the words without those that are the beginning of another, the longest first."""
    telling = [word for word in words if not any(other != word and other.startswith(word) for other in words)]
    return sorted(telling, key=len, reverse=True)


def _owners(only: Mapping[str, Any]) -> Document | None:
    """Return the condition on the owner, or None if no tenant can meet it."""
    partner, detached = only.get("partner"), only.get("detached")
    if partner is not None:
        return None if detached else {"partner": partner}
    return {} if detached is None else {"partner": None if detached else _ANY_PARTNER}


def _choice(query: Document, words: Sequence[str]) -> Choice:
    merged = {"status": _ANY_STATUS, **query}
    owner = ["partner"] if "partner" in query and query["partner"] != _ANY_PARTNER else []
    along = [_along(word, merged, words, owner) for word in words[:MAX_CHOICES]]
    if "plan" in query:
        along.append(Walk({**merged, **_all_of(words)}, _by(*owner, "plan", "status")))
    if along:
        return along
    return [Walk(query, _by(*owner, *(["status"] if "status" in query else [])))]


def _along(word: str, query: Document, words: Sequence[str], owner: Sequence[str]) -> Walk:
    prefix = word[:LONGEST_PREFIX]
    besides = [other for other in words if other != prefix]
    return Walk({**query, "prefixes": prefix, **_all_of(besides)}, _by(*owner, "prefixes", "status"))


def _all_of(words: Sequence[str]) -> Document:
    return {"$and": [{"words": starts_with(word)} for word in words]} if words else {}
