"""The form of an archived entry: one line of RFC 8785 JSON from which the stored document comes back exactly.

docs/audit-archive-format.md section 2. Every member of the document but `_id` (which equals `seq`) stands in the
line; a box is base64. Before an entry may become a line it is checked like a verifier does, so that an altered
entry is never archived as if it were whole.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from services.audit.canonical import FIELDS, NotCanonicalError, canonical_json, entry_hash
from services.audit.models import DERIVED, Head, Stored, action_terms

_STORED = frozenset((*FIELDS, *DERIVED))
_IN_LINE = _STORED - {"_id"}


class EntryDamagedError(Exception):
    """An entry, or a line, is not what a writer of the format makes; `seq` is its place."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"entry {seq}: {reason}")
        self.seq = seq


def to_line(entry: Stored, before: Head) -> bytes:
    """The line, with its newline, of the entry that follows `before`. Raises EntryDamagedError."""
    place = before.seq + 1
    if entry.keys() != _STORED or type(entry["_id"]) is bool or entry["_id"] != place or entry["seq"] != place:
        raise EntryDamagedError(place, "not exactly the members of the format, or not in its place")
    if entry["prevHash"] != before.hash:
        raise EntryDamagedError(place, "prevHash is not the hash of the entry before")
    try:
        if entry_hash(entry) != entry["hash"]:
            raise EntryDamagedError(place, "the hash does not match")
        sealed = [_boxed(item) for item in entry["sealed"]]
        line = {name: entry[name] for name in _IN_LINE} | {"sealed": sealed}
        if entry["actions"] != action_terms(entry["action"]):
            raise EntryDamagedError(place, "actions are not those of the action")
        return canonical_json(line) + b"\n"
    except (NotCanonicalError, TypeError, KeyError, AttributeError) as error:
        raise EntryDamagedError(place, str(error)) from error


def from_line(line: bytes, place: int) -> Stored:
    """The stored document of a line. Raises EntryDamagedError."""
    try:
        entry: dict[str, Any] = orjson.loads(line)
        if entry.keys() != _IN_LINE or entry["seq"] != place:
            raise EntryDamagedError(place, "not exactly the members of a line, or not in its place")
        sealed = [
            {"owner": item["owner"], "box": base64.b64decode(item["box"], validate=True)} for item in entry["sealed"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise EntryDamagedError(place, str(error)) from error
    return {"_id": place, **entry, "sealed": sealed}


def _boxed(item: Any) -> dict[str, str]:
    if item.keys() != {"owner", "box"} or type(item["box"]) is not bytes:
        raise TypeError("sealed is no list of {owner, box}")
    return {"owner": item["owner"], "box": base64.b64encode(item["box"]).decode()}
