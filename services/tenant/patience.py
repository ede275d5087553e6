"""A pause that everybody who calls one integration keeps, once it asked one of them for patience."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import Unavailable

SPREAD = 0.25


class Patience:
    """The pause of one integration. A 429 is about the credential, not about the tenant that happened to meet it.

    ``busy`` is the integration's word for a 429.
    """

    def __init__(self, busy: type[Unavailable], clock: Callable[[], float] = time.monotonic) -> None:
        self._busy = busy
        self._clock = clock
        self._until = 0.0

    def asked(self, seconds: int) -> None:
        """Keep away for so long; a shorter pause never ends a longer one."""
        self._until = max(self._until, self._clock() + seconds)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Make a call, unless the pause lasts; a call that is told to wait starts one.

        Raises:
            Unavailable: ``busy``, before anything is sent.
        """
        if left := self.left():
            raise self._busy("it asked for patience", retry_after=left)
        try:
            yield
        except self._busy as busy:
            self.asked(busy.retry_after)
            raise

    def left(self) -> int:
        """Return the whole seconds that are left of the pause, 0 without one."""
        left = self._until - self._clock()
        return 0 if left <= 0 else int(left) + 1


def spread(seconds: float) -> float:
    """Return a little more, so that whoever waited for the same end does not come back at the same instant."""
    return seconds * (1 + SPREAD * random.random())  # noqa: S311 - jitter
