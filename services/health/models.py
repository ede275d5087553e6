"""What a probe sees, and what follows from what it saw before: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

ProbeStatus = Literal["ok", "warn", "bad", "not_deployed"]
OK_MS = 500
WARN_MS = 1_500
DEADLINE_SECONDS = 1.5

PLANNED = ("Jitsi", "Zulip", "simpledns.plus", "Hetzner Object Storage", "Postmark")


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: how long it took in milliseconds, and what was wrong, in words. ``warning`` is no outage."""

    latency_ms: int | None = None
    error: str | None = None
    warning: str | None = None

    @property
    def status(self) -> ProbeStatus:
        """ok up to 500 ms, warn up to 1,500 ms or with a warning, else bad."""
        if self.error is not None or (self.latency_ms is not None and self.latency_ms > WARN_MS):
            return "bad"
        slow = self.latency_ms is not None and self.latency_ms > OK_MS
        return "warn" if slow or self.warning else "ok"


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The present state of one probe; ``since`` is when it got this status."""

    name: str
    status: ProbeStatus
    since: datetime
    checked_at: datetime
    latency_ms: int | None = None
    message: str | None = None

    @property
    def deployed(self) -> bool:
        return self.status != "not_deployed"


@dataclass(frozen=True, slots=True)
class ErasedPerson:
    """Somebody of whom no dead letter may tell: erased at ``at``, looked for up to the letter number ``after``."""

    person: str
    at: datetime
    after: int = 0


def after(before: ProbeState | None, name: str, seen: Seen | None, at: datetime) -> ProbeState:
    """Return the state after a look; None means that there is no target to look at."""
    status: ProbeStatus = "not_deployed" if seen is None else seen.status
    since = before.since if before is not None and before.status == status else at
    if seen is None:
        return ProbeState(name, status, since, at)
    return ProbeState(name, status, since, at, seen.latency_ms, seen.error or seen.warning)


def is_up(states: list[ProbeState]) -> bool:
    """Tell whether the platform works: nothing that is deployed is bad, and something has been probed."""
    return any(state.deployed for state in states) and all(state.status != "bad" for state in states)
