"""Internal tokens: who the caller is, said again for one service and one minute."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from shared.auth import InternalTokenIssuer, Person
from shared.clock import Clock

REUSED_FOR = timedelta(seconds=45).total_seconds()
"""Of the 60 seconds that a token lives: a service gets it with at least 15 left, for its queue and its clock."""


@dataclass(slots=True)
class Caller:
    """A person as the directory knows them now, with the credentials that were made for them.

    The credentials live and die with this entry: a newer version of the person is another ``Caller``.
    """

    person: Person
    credentials: dict[str, tuple[bytes, float]] = field(default_factory=dict)


class Credentials:
    """Makes the ``authorization`` line for a service, and makes it again when it grows old."""

    def __init__(self, issuer: InternalTokenIssuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._own: dict[str, tuple[bytes, float]] = {}

    def of_person(self, caller: Caller, service: str) -> bytes:
        """Return the header line that presents ``caller`` to ``service``."""
        return self._current(caller.credentials, service, caller.person)

    def of_gateway(self, service: str) -> bytes:
        """Return the header line that presents the gateway itself to ``service``."""
        return self._current(self._own, service, None)

    def _current(self, kept: dict[str, tuple[bytes, float]], service: str, person: Person | None) -> bytes:
        now = self._clock.now().timestamp()
        known = kept.get(service)
        # The clock may be set back: a token from the future is no use to the service either.
        if known is not None and known[1] - REUSED_FOR <= now < known[1]:
            return known[0]
        line = f"authorization: Bearer {self._issuer.issue(service, person)}\r\n".encode()
        kept[service] = (line, now + REUSED_FOR)
        return line
