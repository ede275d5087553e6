"""Connections that somebody forgot: an error in every test but for the one library that is known to forget them.

The MongoDB driver (4.20) connects, and then waits for a lock and for the server's greeting. Cancelled in between, as a
service does to its workers when it ends, it leaves an open connection to the garbage collector: in the middle of some
later test. The socket that is not connected yet is covered by the filter in pyproject.toml.
"""

from __future__ import annotations

from asyncio import selector_events
from typing import Any

from pymongo.network_layer import PyMongoProtocol

_warn: Any = selector_events._SelectorTransport.__del__  # type: ignore[attr-defined]


def _collected(transport: Any) -> None:
    if transport._sock is not None and isinstance(transport._protocol, PyMongoProtocol):
        transport._sock.close()
        return
    _warn(transport)


def excuse_the_driver() -> None:
    """Let asyncio close what the driver forgot; whatever else is forgotten still fails the test that meets it."""
    selector_events._SelectorTransport.__del__ = _collected  # type: ignore[attr-defined]
