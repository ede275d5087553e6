"""The canonical form (docs/audit-format.md, sections 1 to 3), for the second verifier. Nothing is the product's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

# fmt: off
CANONICAL = (
    "v", "seq", "id", "at", "actorType", "actorId", "actorEmail", "actorIp", "surface", "action", "outcome",
    "resourceType", "resourceId", "resourceName", "tenantSlug", "partnerSlug", "source", "metadata", "prevHash",
)
# fmt: on
LARGEST = 2**53 - 1
LEVELS = 64
SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


class NoCanonicalForm(Exception):
    """The value is none of section 1."""


def content_hash(entry: Mapping[str, Any]) -> str:
    """The hash of section 3. Raises NoCanonicalForm."""
    return hashlib.sha256(canonical({name: entry[name] for name in CANONICAL})).hexdigest()


def canonical(value: Any) -> bytes:
    """The RFC 8785 form (section 2). Raises NoCanonicalForm."""
    return _text(value, 1).encode()


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_commitment(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"$commit"}:
        return False
    return isinstance(value["$commit"], str) and re.fullmatch("[0-9a-f]{64}", value["$commit"]) is not None


def _text(value: Any, level: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise NoCanonicalForm("an integer out of range")
        return str(int(value))
    if not isinstance(value, dict | list):
        raise NoCanonicalForm(type(value).__name__)
    if level > LEVELS:
        raise NoCanonicalForm("nested too deeply")
    if isinstance(value, list):
        return "[" + ",".join(_text(item, level + 1) for item in value) + "]"
    for name in value:
        if not isinstance(name, str) or "\0" in name or (name.startswith("$") and not is_commitment(value)):
            raise NoCanonicalForm("a reserved name")
    names = sorted(value, key=_utf_16)
    return "{" + ",".join(f"{_string(name)}:{_text(value[name], level + 1)}" for name in names) + "}"


def _utf_16(name: str) -> bytes:
    try:
        return name.encode("utf-16-be")
    except UnicodeEncodeError:
        raise NoCanonicalForm("a lone surrogate") from None


def _string(text: str) -> str:
    _utf_16(text)
    return '"' + "".join(SHORT.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text) + '"'
