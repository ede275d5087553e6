"""Requests per minute, and requests at once."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infrastructure.sandbox.stalwart.errors import RequestError, Throttled

MINUTE = 60


class Rate:
    """A fixed window of a minute for each key."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._windows: dict[object, tuple[float, int]] = {}

    def take(self, key: object) -> None:
        """Raises Throttled with the seconds until the window ends."""
        now = self._clock()
        began, count = self._windows.get(key, (now, 0))
        if now - began >= MINUTE:
            began, count = now, 0
        if count >= self._limit:
            raise Throttled(max(1, round(began + MINUTE - now)))
        self._windows[key] = (began, count + 1)


class Slots:
    """How many requests of one account are answered at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[int] = Counter()

    @contextmanager
    def taken(self, account: int) -> Iterator[None]:
        if self._taken[account] >= self._limit:
            raise over("maxConcurrentRequests", "The server is already processing the maximum number of requests.")
        self._taken[account] += 1
        try:
            yield
        finally:
            self._taken[account] -= 1


def over(limit: str, detail: str) -> RequestError:
    """RFC 8620 section 3.6.1: the member `limit` names the limit of the session object."""
    return RequestError(400, detail, "limit", limit=limit)
