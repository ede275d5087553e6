"""Events of the gateway. It has no database: it publishes them and waits for the acknowledgement."""

from __future__ import annotations

from typing import ClassVar

from shared.contracts.envelope import Event, Moment


class RequestsRefused(Event):
    """Refusals of unknown callers within one minute: one event per address, route and code.

    Attributes:
        route: the route's pattern, never the path as sent.
        code: the problem code.
        count: requests refused, at least 1.
        since, until: first and last of them.
    """

    type: ClassVar[str] = "gateway.requests_refused.v1"
    summary: ClassVar[str] = "Callers without a valid credential were refused, summarised per minute."

    route: str
    code: str
    count: int
    since: Moment
    until: Moment
