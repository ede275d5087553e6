"""What belongs to the request at hand and to no argument list: its id, its trace, the client's address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Facts that the gateway set and that are believed only beside a valid internal token."""

    request_id: str = ""
    traceparent: str = ""
    client_ip: str = ""


_EMPTY = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("dezky_request", default=_EMPTY)


def current() -> RequestContext:
    """Return the context of the request that this task serves, or an empty one."""
    return _current.get()


def bind(context: RequestContext) -> None:
    """Make ``context`` current for this task and the tasks that it starts."""
    _current.set(context)


@contextlib.contextmanager
def bound(context: RequestContext) -> Iterator[None]:
    """Make ``context`` current for the block, and what was current before again after it."""
    before = _current.set(context)
    try:
        yield
    finally:
        _current.reset(before)
