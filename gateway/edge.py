"""What the connections of a listener share: their bounds, and the refusals that come before any request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from gateway.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a client's connection; sizes in bytes, times in seconds.

    Attributes:
        head: request line and header fields together.
        overhead: bytes of a body that carry no content (chunk extensions, trailers) in a row.
        head_time: from the first byte of a head (or from the connection) to its end.
        body_idle: without a byte of a body that is expected.
        keep_alive: between requests.
        write_idle: without the client taking a byte of the answer.
        pipelined: requests that wait behind the one being served.
    """

    head: int = 16 * 1024
    target: int = 8 * 1024
    overhead: int = 16 * 1024
    head_time: float = 10.0
    body_idle: float = 20.0
    keep_alive: float = 75.0
    write_idle: float = 30.0
    connections: int = 2_048
    pipelined: int = 16


def _ignore(_code: str, _address: str) -> None:
    return None


@dataclass(slots=True)
class Edge:
    """What all connections of a listener share.

    ``on_refusal`` hears the code and the peer's address of each message refused before the application.
    """

    sweeper: Sweeper
    limits: Limits = field(default_factory=Limits)
    on_refusal: Callable[[str, str], None] = _ignore


class MessageRefused(Exception):
    """A message that is refused before it is a request; its connection ends with the answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def head_too_large() -> MessageRefused:
    """Return the refusal of a head beyond its limit."""
    return MessageRefused(431, "header_fields_too_large", "the request's header fields are too large")


def unreadable(error: httptools.HttpParserError) -> MessageRefused:
    """Return the refusal of what the parser could not read."""
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return MessageRefused(501, "method_not_implemented", "the gateway does not know this method")
    return MessageRefused(400, "malformed_request", f"this is not HTTP/1.1: {error}")
