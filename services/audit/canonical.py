"""The canonical form of an entry and its hash, as docs/audit-format.md publishes them.

RFC 8785 (JSON Canonicalization Scheme) over a value domain without floats: objects, arrays, strings, booleans,
null and integers within ±(2^53 - 1). `rfc8785` is the reference; orjson encodes the same bytes several times faster
wherever every member name is ASCII, because there the UTF-16 order of RFC 8785 and orjson's byte order are one
(tests/audit compares the two).
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import rfc8785

FORMAT_VERSION = 1
GENESIS = "0" * 64
MAX_INTEGER = 2**53 - 1
# MongoDB stores at most 100 levels; an entry spends a few of them itself.
MAX_DEPTH = 64

FIELDS = (
    "v",
    "seq",
    "id",
    "at",
    "actorType",
    "actorId",
    "actorEmail",
    "actorIp",
    "surface",
    "action",
    "outcome",
    "resourceType",
    "resourceId",
    "resourceName",
    "tenantSlug",
    "partnerSlug",
    "source",
    "metadata",
    "prevHash",
)


class NotCanonicalError(ValueError):
    """The value lies outside the domain of the format: a float, a large integer, a lone surrogate, another type."""


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes of `value`. Raises NotCanonicalError; never rounds, never coerces."""
    # Most values that are committed to are single strings: spare them the walk.
    ascii_names = type(value) is str or _check(value, 0)
    try:
        if ascii_names:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (orjson.JSONEncodeError, rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonicalError(str(error)) from error


def canonical_entry(entry: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: exactly FIELDS, whatever else is there. Raises NotCanonicalError if one is missing."""
    try:
        return canonical_json({name: entry[name] for name in FIELDS})
    except KeyError as error:
        raise NotCanonicalError(f"the field {error} is missing") from error


def entry_hash(entry: Mapping[str, Any]) -> str:
    """sha256 of the canonical form, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical_entry(entry)).hexdigest()


def _check(value: object, depth: int) -> bool:
    """Whether every member name below is ASCII; raises NotCanonicalError for what the format has no place for."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    # Subclasses of int come from BSON (Int64); bool was answered above.
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonicalError("an integer lies outside ±(2^53 - 1)")
        return True
    if depth >= MAX_DEPTH:
        raise NotCanonicalError(f"nested deeper than {MAX_DEPTH} levels")
    ascii_names = True
    if isinstance(value, dict) and kind is dict:
        for name in value:
            if type(name) is not str:
                raise NotCanonicalError("a member name is not a string")
            ascii_names = ascii_names and name.isascii()
        items: Iterable[object] = value.values()
    elif isinstance(value, list) and kind is list:
        items = value
    else:
        raise NotCanonicalError(f"a {kind.__name__} has no canonical form")
    for item in items:
        # Most values are strings: spare them the call.
        if type(item) is not str and not _check(item, depth + 1):
            ascii_names = False
    return ascii_names
