"""A checkpoint's form, as docs/audit-format.md publishes it: members, signed bytes, hash, and the witness's copy.

A stored checkpoint is a plain mapping, as an entry is: a verifier must see every member as it lies there.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from services.audit.canonical import GENESIS, MAX_INTEGER, canonical_json

Row = dict[str, Any]
"""A checkpoint as it lies in MongoDB: `_id` is its number."""

Reason = Literal["startup", "interval", "threshold", "manual"]
REASONS = frozenset({"startup", "interval", "threshold", "manual"})

SIGNED = ("at", "headSeq", "headHash", "prevCheckpointHash", "reason", "rootHash")
MEMBERS = frozenset(("_id", *SIGNED, "signatures", "note"))
_HASH = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_SIGNATURE = frozenset({"sigAlg", "keyId", "signature"})


class MalformedCheckpointError(Exception):
    """The row is no checkpoint: a member is missing, unknown or of another type. Names it."""


def signed_bytes(row: Row) -> bytes:
    """What the signatures of a well-formed row are over."""
    return canonical_json({"number": row["_id"], **{name: row[name] for name in SIGNED}})


def checkpoint_hash(row: Row) -> str:
    """What the next checkpoint carries as `prevCheckpointHash`."""
    return hashlib.sha256(signed_bytes(row)).hexdigest()


def witness_bytes(row: Row) -> bytes:
    """The witness's copy: the whole row, in which `_id` is called `number`."""
    return canonical_json({"number": row["_id"], **{name: value for name, value in row.items() if name != "_id"}})


def previous_hash(row: Row | None) -> str:
    """What a checkpoint after `row` carries; None is before the first."""
    return GENESIS if row is None else checkpoint_hash(row)


def is_number(value: object) -> bool:
    """Whether it is a number of a checkpoint or an entry. BSON's Int64 is one, a boolean is none."""
    return isinstance(value, int) and type(value) is not bool and 1 <= value <= MAX_INTEGER


def check_form(row: Row) -> None:
    """Raise MalformedCheckpointError unless the row has exactly the members of the format, in its types."""
    if odd := MEMBERS.symmetric_difference(row):
        raise MalformedCheckpointError(min(str(name) for name in odd))
    fits = {
        "_id": is_number(row["_id"]),
        "headSeq": is_number(row["headSeq"]),
        "at": _matches(_MOMENT, row["at"]),
        "reason": type(row["reason"]) is str and row["reason"] in REASONS,
        "note": row["note"] is None or type(row["note"]) is str,
        "signatures": type(row["signatures"]) is list and all(_is_signature(item) for item in row["signatures"]),
        **{name: _matches(_HASH, row[name]) for name in ("headHash", "rootHash", "prevCheckpointHash")},
    }
    for name, good in fits.items():
        if not good:
            raise MalformedCheckpointError(name)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return type(value) is str and pattern.fullmatch(value) is not None


def _is_signature(item: object) -> bool:
    return type(item) is dict and item.keys() == _SIGNATURE and all(type(value) is str for value in item.values())
