"""What a batch may contain, so that a list need not open the batches that hold nothing for it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from services.audit.models import Query, Stored

LISTED = ("tenantSlug", "partnerSlug", "actions", "source", "outcome")
MOST_VALUES = 200
_TEXT_FIELDS = ("action", "resourceName", "tenantSlug")


@dataclass(frozen=True, slots=True)
class Summary:
    """Least and greatest `at`, and the distinct values of each member in LISTED; None where there are too many."""

    min_at: str
    max_at: str
    values: dict[str, list[str] | None]

    def document(self) -> dict[str, Any]:
        """The form in a manifest and in a row."""
        return {"minAt": self.min_at, "maxAt": self.max_at, **self.values}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Summary:
        """The summary in that form. Raises KeyError."""
        return cls(document["minAt"], document["maxAt"], {name: document[name] for name in LISTED})

    def may_match(self, query: Query) -> bool:
        """False only if no entry of the batch can match."""
        if query.since is not None and self.max_at < query.since:
            return False
        if query.until is not None and self.min_at >= query.until:
            return False
        if query.actor_tags is not None and not query.actor_tags:
            return False
        return all(self._may_hold(name, wanted) for name, wanted in wanted_values(query).items())

    def _may_hold(self, name: str, wanted: str) -> bool:
        values = self.values[name]
        return values is None or wanted in values


class Summing:
    """Makes the summary of a batch, entry by entry."""

    def __init__(self) -> None:
        self._min = ""
        self._max = ""
        self._values: dict[str, set[str]] = {name: set() for name in LISTED}

    def add(self, entry: Stored) -> None:
        at = entry["at"]
        self._min = min(self._min or at, at)
        self._max = max(self._max, at)
        for name, values in self._values.items():
            # Beyond the bound it says nothing any more, and need not grow.
            if len(values) <= MOST_VALUES:
                value = entry[name]
                values.update(value if isinstance(value, list) else () if value is None else (value,))

    def summary(self) -> Summary:
        bounded = {name: sorted(v) if len(v) <= MOST_VALUES else None for name, v in self._values.items()}
        return Summary(self._min, self._max, bounded)


def wanted_values(query: Query) -> dict[str, str]:
    """Member → value of the query's equalities that a summary lists."""
    equal = {
        "tenantSlug": query.tenant,
        "partnerSlug": query.partner,
        "actions": query.action,
        "source": query.source,
        "outcome": query.outcome,
    }
    return {name: value for name, value in equal.items() if value is not None}


def matches(entry: Stored, query: Query) -> bool:
    """Whether the query finds the entry: what `AuditRepository.page` asks MongoDB, asked of one entry."""
    if query.below is not None and entry["_id"] >= query.below:
        return False
    if (query.since is not None and entry["at"] < query.since) or (
        query.until is not None and entry["at"] >= query.until
    ):
        return False
    if query.partner_or_none is not None and entry["partnerSlug"] not in {query.partner_or_none, None}:
        return False
    if query.actor_tags is not None and entry["actorEmailHmac"] not in query.actor_tags:
        return False
    if not all(_holds(entry[name], wanted) for name, wanted in wanted_values(query).items()):
        return False
    return not query.text or _mentions(entry, query.text)


def _holds(value: str | Collection[str] | None, wanted: str) -> bool:
    return wanted in value if isinstance(value, list) else value == wanted


def _mentions(entry: Stored, text: str) -> bool:
    pattern = re.compile(re.escape(text), re.IGNORECASE)
    return any(type(entry[name]) is str and pattern.search(entry[name]) for name in _TEXT_FIELDS)
