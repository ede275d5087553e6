"""How many exports one replica makes at once: each holds a page in memory and takes its part of the event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import Counter, Gauge

from shared.errors import Unavailable

RETRY_SECONDS = 5

_running = Gauge("dezky_audit_exports_running", "Exports and bundles that are being read")
_refused = Counter("dezky_audit_exports_refused_total", "Exports and bundles refused because as many run as may")


class ExportsBusy(Unavailable):
    """Nothing was read. Answered before the first byte, so the whole request may be repeated."""

    code, title = "exports_busy", "As many exports run as one replica makes at once"


class Turns:
    """A bound on the exports of a replica, lists and bundles together. Nobody waits for a turn."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a turn. Raises ExportsBusy if none is free."""
        if self._taken >= self._most:
            _refused.inc()
            raise ExportsBusy(f"{self._most} exports run already: ask again later", retry_after=RETRY_SECONDS)
        self._taken += 1
        _running.inc()
        try:
            yield
        finally:
            self._taken -= 1
            _running.dec()
