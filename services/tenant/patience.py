"""A pause that everybody who calls one integration keeps, once it asked one of them for patience."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

SPREAD = 0.25


class Patience:
    """The pause of one integration. A 429 is about the credential, not about the tenant that happened to meet it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def asked(self, seconds: int) -> None:
        """Keep away for so long; a shorter pause never ends a longer one."""
        self._until = max(self._until, self._clock() + seconds)

    def left(self) -> int:
        """Return the whole seconds that are left of the pause, 0 without one."""
        left = self._until - self._clock()
        return 0 if left <= 0 else int(left) + 1


def spread(seconds: float) -> float:
    """Return a little more, so that whoever waited for the same end does not come back at the same instant."""
    return seconds * (1 + SPREAD * random.random())  # noqa: S311 - jitter
