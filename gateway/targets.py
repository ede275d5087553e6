"""What a request may ask for: request targets (RFC 9112 §3.2) that mean the same to every reader.

A gateway that routes by one reading of a path while the service acts on another is open to path confusion.
So a path is refused when any two readers could differ: dot segments, empty segments, encoded slashes,
backslashes, control characters, bytes outside ASCII, or percent-encodings that are not UTF-8.
"""

from __future__ import annotations

import re

from gateway.problems import BadRequest

# pchar of RFC 3986 §3.3 without percent-encodings.
_PLAIN = re.compile(rb"(?=/)(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@]+)*/?")
_ENCODED = re.compile(rb"(?=/)(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+)*/?")
_FORBIDDEN_DECODED = re.compile(r"[\x00-\x1f\x7f/\\]")
_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")


def split_target(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Split a request target into raw path and raw query.

    The absolute form must name the same authority as the Host field: RFC 9112 §3.2.2 lets the target win,
    and a service that reads Host would then serve another site than the gateway routed.

    Raises:
        BadRequest: neither origin form nor absolute form, another authority, or a malformed query.
    """
    if target[:1] != b"/":
        target = _origin_form(target, host)
    path, _, query = target.partition(b"?")
    if query and not _QUERY.fullmatch(query):
        raise BadRequest("the query of the URL holds characters that must be percent-encoded", code="invalid_target")
    return path, query


def _origin_form(target: bytes, host: bytes) -> bytes:
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        raise BadRequest("the request target must start with a slash", code="invalid_target")
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    if rest[:end].lower() != host.lower():
        raise BadRequest("the request target names another host than the Host field", code="invalid_target")
    tail = rest[end:]
    return tail if tail.startswith(b"/") else b"/" + tail


def read_path(raw: bytes) -> str:
    """Return the decoded path, on which gateway and service agree.

    Raises:
        BadRequest: two readers could take the path for different ones.
    """
    if _PLAIN.fullmatch(raw):
        path = raw.decode("ascii")
    elif _ENCODED.fullmatch(raw):
        path = _decode(raw)
    else:
        raise _ambiguous("it holds an empty segment or a character that must be percent-encoded")
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise _ambiguous("it holds a dot segment")
    return path


def _decode(raw: bytes) -> str:
    segments = []
    for segment in raw.split(b"/"):
        try:
            decoded = _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), segment).decode()
        except UnicodeDecodeError:
            raise _ambiguous("a percent-encoding in it is not UTF-8") from None
        if _FORBIDDEN_DECODED.search(decoded):
            raise _ambiguous("it holds an encoded slash, backslash or control character")
        segments.append(decoded)
    return "/".join(segments)


def _ambiguous(reason: str) -> BadRequest:
    return BadRequest(f"the path is ambiguous: {reason}", code="invalid_path")
