"""JSON and base64url as a security boundary reads them: one meaning per byte string, or none.

Lenient readers are how two parties come to see two different tokens in the same bytes, so everything that a
second implementation might read differently is refused here (RFC 8725 section 2.4; RFC 7493, I-JSON).
"""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 32

# Possessive, and content with a string that never ends: linear on every text, however hostile.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class StrictError(ValueError):
    """The bytes are not what the format says; the message never quotes them."""


def decode_base64url(segment: bytes) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2); every value has exactly one accepted spelling.

    Raises:
        StrictError: padding, whitespace, a character outside the alphabet, an impossible length, or
            non-zero trailing bits, which would let one signature be written in several ways.
    """
    try:
        decoded = binascii.a2b_base64(segment.translate(_TO_STANDARD) + b"=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise StrictError("not base64url") from error
    # The decoder skips what it does not know. Whatever it skipped is missing from the way back.
    if encode_base64url(decoded) != segment:
        raise StrictError("not canonical base64url")
    return decoded


def encode_base64url(raw: bytes) -> bytes:
    """Encode as base64url without padding."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL_SAFE)


def parse(raw: bytes) -> Any:
    """Parse a JSON text of any kind. Strings may hold half of a surrogate pair.

    Raises:
        StrictError: not UTF-8, not JSON; a member name twice in one object; NaN, an infinity or a number beyond the
            range of a double; an integer of thousands of digits; more than 32 levels deep.
    """
    try:
        text = raw.decode()
        _check_depth(text)
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant, parse_float=_finite)
    except StrictError:
        raise
    except ValueError as error:
        raise StrictError("not JSON") from error


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON text whose root is an object.

    Raises:
        StrictError: what ``parse`` refuses; not an object; half of a surrogate pair.
    """
    value = parse(raw)
    # Only an escape can smuggle half a surrogate pair past the UTF-8 decoder; it would fail much later,
    # wherever the string is next written out.
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except ValueError as error:
            raise StrictError("half of a surrogate pair") from error
    if not isinstance(value, dict):
        raise StrictError("not a JSON object")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictError("a member appears twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise StrictError("not a JSON number")


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise StrictError("a number out of range")
    return number


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return  # The common case: too few brackets to be deep, wherever they stand.
    depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise StrictError("nested too deeply")
        elif character in "]}":
            depth -= 1
