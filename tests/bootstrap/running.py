"""Running a part whole, or as a process that dies after one of its steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from infrastructure.bootstrap.reports import Outcome, Report


async def steps(part: AsyncIterator[Report], stop_after: int | None = None) -> list[Report]:
    """Return what a part reported until it ended, or until it was ended after so many steps."""
    done: list[Report] = []
    async with aclosing(part) as running:  # type: ignore[type-var]
        async for report in running:
            done.append(report)
            if len(done) == stop_after:
                return done
    return done


def outcomes(reports: list[Report]) -> list[str]:
    return [report.outcome.value for report in reports]


def is_settled(reports: list[Report]) -> bool:
    """True when a run found all as it must be."""
    return bool(reports) and {report.outcome for report in reports} <= {Outcome.OK, Outcome.SKIPPED}
