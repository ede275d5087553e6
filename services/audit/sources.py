"""Whether every number of every source has arrived.

`sourceseq` is gapless, so a hole in it is an event that audit never saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from prometheus_client import Gauge

from services.audit.models import Fact, Gap

log = structlog.get_logger()

# A source with more holes than this is broken as a whole; the last hole then swallows what follows it.
MOST_GAPS = 100

MISSING = Gauge("dezky_audit_source_missing", "Numbers of a source that have not arrived", ["source"])


def advance(rows: Iterable[Mapping[str, Any]], facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """The positions of the sources after `facts`: {_id: source, last, gaps: [[first, last], …]}.

    A number below the last one closes its part of a hole, whenever it comes: redelivery reorders.
    """
    positions = {row["_id"]: {**row, "gaps": [list(gap) for gap in row["gaps"]]} for row in rows}
    touched: dict[str, dict[str, Any]] = {}
    for fact in facts:
        if fact.source_seq is None or fact.source_seq < 1:
            continue
        row = positions.setdefault(fact.source, {"_id": fact.source, "last": 0, "gaps": []})
        touched[fact.source] = row
        _place(row, fact.source_seq)
    return list(touched.values())


def _place(row: dict[str, Any], number: int) -> None:
    if number == row["last"] + 1:
        row["last"] = number
    elif number > row["last"]:
        _open(row["gaps"], row["last"] + 1, number - 1)
        row["last"] = number
    else:
        row["gaps"] = [part for gap in row["gaps"] for part in _without(gap, number)]


def _open(gaps: list[list[int]], first: int, last: int) -> None:
    if len(gaps) >= MOST_GAPS:
        gaps[-1][1] = last
    else:
        gaps.append([first, last])


def _without(gap: list[int], number: int) -> list[list[int]]:
    first, last = gap
    if not first <= number <= last:
        return [gap]
    return [part for part in ([first, number - 1], [number + 1, last]) if part[0] <= part[1]]


def gaps_of(rows: Iterable[Mapping[str, Any]]) -> list[Gap]:
    """Every hole of every source."""
    return [Gap(row["_id"], first, last) for row in rows for first, last in row["gaps"]]


def announce(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> None:
    """Raise the alarm for holes that were not there before, and say when one has closed."""
    known = set(gaps_of(before))
    now = set(gaps_of(after))
    for gap in sorted(now - known, key=lambda g: (g.source, g.first)):
        log.error("audit.source_gap", source=gap.source, first=gap.first, last=gap.last)
    for gap in sorted(known - now, key=lambda g: (g.source, g.first)):
        log.info("audit.source_gap_narrowed", source=gap.source, first=gap.first, last=gap.last)
    show_missing(after)


def show_missing(rows: Iterable[Mapping[str, Any]]) -> None:
    """Set the metric to what is missing of each source."""
    for row in rows:
        MISSING.labels(row["_id"]).set(sum(last - first + 1 for first, last in row["gaps"]))
