"""Which header fields cross the gateway, and which are the gateway's own to set.

Inward, everything that speaks of identity, address, trace or hop is dropped and set anew. Names with an underscore
are dropped whole, because servers in the CGI tradition read ``X_Request_Id`` and ``X-Request-Id`` as one. Outward, what
concerns the inner hop stays inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Fields = list[tuple[bytes, bytes]]

# RFC 9110 §7.6.1, plus what older proxies listen to.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_INWARD_OWN = frozenset(
    {
        b"authorization", b"cookie", b"forwarded", b"x-real-ip", b"x-request-id", b"traceparent", b"tracestate",
        b"expect", b"host", b"content-length", b"via", b"x-client-ip", b"true-client-ip", b"x-original-url",
        b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override",
    }
)  # fmt: skip
_INWARD_PREFIXES = (b"x-forwarded", b"x-dezky-", b"proxy-")
_OUTWARD_OWN = frozenset({b"x-request-id", b"server", b"x-powered-by", b"location", b"content-length"})
_OUTWARD_PREFIXES = (b"x-dezky-", b"proxy-")
_KNOWN_NAMES = 2_048

# W3C Trace Context, level 1 §3.2.2; later versions may append fields.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class _Crossing:
    """Remembers for each name whether it crosses; clients send the same few dozen names."""

    def __init__(self, crosses: Callable[[bytes], bool]) -> None:
        self._crosses = crosses
        self._known: dict[bytes, bool] = {}

    def __call__(self, name: bytes) -> bool:
        known = self._known.get(name)
        if known is None:
            known = self._crosses(name)
            if len(self._known) < _KNOWN_NAMES:
                self._known[name] = known
        return known


def _crosses_inward(name: bytes) -> bool:
    return not (name in HOP_BY_HOP or name in _INWARD_OWN or b"_" in name or name.startswith(_INWARD_PREFIXES))


def _crosses_outward(name: bytes) -> bool:
    return not (name in HOP_BY_HOP or name in _OUTWARD_OWN or name.startswith(_OUTWARD_PREFIXES))


_inward = _Crossing(_crosses_inward)
_outward = _Crossing(_crosses_outward)


def _named_by_connection(headers: Fields) -> frozenset[bytes]:
    """Return the fields that a Connection field declares to be for one hop only."""
    return frozenset(
        option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
    )


_HARMLESS_CONNECTION = frozenset({b"keep-alive", b"close", b""})


class Inbound:
    """A request's header fields, read once.

    Attributes:
        lines: the fields that go on to the service, as they stand on the wire.
        authorizations: values of Authorization; more than one is a fault.
        content_length: as announced, or None.
        chunked: whether the body comes in chunks.
        traceparents, tracestate: as sent; not yet believed.
    """

    __slots__ = ("authorizations", "chunked", "content_length", "lines", "traceparents", "tracestate")

    def __init__(self, headers: Fields) -> None:
        self.authorizations: list[bytes] = []
        self.content_length: int | None = None
        self.chunked = False
        self.traceparents: list[bytes] = []
        self.tracestate: list[bytes] = []
        lines: list[bytes] = []
        listed: frozenset[bytes] = frozenset()
        for name, value in headers:
            if _inward(name):
                lines += (name, b": ", value, b"\r\n")
            elif name == b"authorization":
                self.authorizations.append(value)
            elif name == b"content-length":
                self.content_length = int(value)
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name == b"traceparent":
                self.traceparents.append(value)
            elif name == b"tracestate":
                self.tracestate.append(value)
            elif name == b"connection" and value.lower() not in _HARMLESS_CONNECTION:
                listed = listed or _named_by_connection(headers)
        self.lines = b"".join(lines if not listed else _without(lines, listed))

    @property
    def has_body(self) -> bool:
        """Whether any content follows the head."""
        return self.chunked or bool(self.content_length)

    def continued(self) -> str:
        """Return the caller's ``traceparent``, in our version of it; empty unless there is exactly one valid."""
        known = _continued(self.traceparents[0]) if len(self.traceparents) == 1 else None
        if known is None:
            self.tracestate.clear()  # it belongs to the other, and means nothing in a trace of ours
            return ""
        return known.decode()

    def trace_lines(self, traceparent: str) -> bytes:
        """Return the header lines of a trace: the parent given, and the state that the caller sent with a valid one."""
        state = b",".join(self.tracestate)
        lines = b"traceparent: %b\r\n" % traceparent.encode()
        return lines + (b"tracestate: %b\r\n" % state if state else b"")


def new_trace(request_id: str) -> str:
    """Return the ``traceparent`` of a new trace.

    It takes its ids from the request id (a UUIDv7, 74 random bits), so that either finds the other.
    """
    digits = request_id.replace("-", "")
    return f"00-{digits}-{digits[16:]}-01"


def _without(lines: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for i in range(0, len(lines), 4):
        if lines[i] not in names:
            kept += lines[i : i + 4]
    return kept


def _continued(traceparent: bytes) -> bytes | None:
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None:
        return None
    version, trace, parent, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest) or not trace.strip(b"0") or not parent.strip(b"0"):
        return None
    return b"00-%b-%b-%b" % (trace, parent, flags)


def outbound(headers: Fields, origin: bytes) -> Fields:
    """Return the fields of a service's answer that the client gets.

    A Location that names the service's own address becomes relative: inner addresses mean nothing outside.
    """
    kept: Fields = []
    listed: frozenset[bytes] = frozenset()
    for field in headers:
        name, value = field
        if _outward(name):
            kept.append(field)
        elif name == b"content-length":
            kept.append((name, value.strip()))
        elif name == b"location":
            kept.append((name, value.removeprefix(origin) or b"/"))
        elif name == b"connection" and value.lower() not in _HARMLESS_CONNECTION:
            listed = listed or _named_by_connection(headers)
    return [field for field in kept if field[0] not in listed] if listed else kept
