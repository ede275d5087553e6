"""What a step says of itself, and what stops a part.

A part is a generator: it makes or mends one thing, reports it, and goes on to the next. Whoever stops between two
reports leaves a deployment that the next run completes.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """`ok`: it was as it must be. `made`: it was missing. `mended`: it differed. `skipped`: nobody asked for it."""

    OK = "ok"
    MADE = "made"
    MENDED = "mended"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Report:
    """One step that is done. `step` never holds a secret."""

    step: str
    outcome: Outcome


class Stopped(Exception):
    """A part cannot go on; `reason` and `remedy` are one sentence each, without a full stop and without a secret."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}. {remedy}.")


class NotReady(Stopped):
    """A server did not answer, or not as it must, before the deadline: to run again later may be enough."""


class ByHand(Stopped):
    """Somebody has to do something first: a wrong password, a bucket that cannot be changed any more."""
