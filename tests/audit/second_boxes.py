"""Personal values (docs/audit-format.md, section 4) for the second verifier. Nothing here comes from the product."""

from __future__ import annotations

import base64
import hmac
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.audit.second_canonical import CANONICAL, NoCanonicalForm, canonical, is_commitment

ADDRESS = "address:"


def commitment(salt: bytes, value: Any) -> str:
    return hmac.new(salt, canonical(value), "sha256").hexdigest()


def address_tag(data_key: bytes, address: str) -> str:
    """`actorEmailHmac` (section 5)."""
    lowered = unicodedata.normalize("NFC", address.strip()).lower()
    key = hmac.digest(data_key, b"dezky-audit/actor-address/v1", "sha256")
    return hmac.new(key, unicodedata.normalize("NFC", lowered).encode(), "sha256").hexdigest()


def commitments(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """(RFC 6901 pointer, commitment) of each below this value."""
    if is_commitment(value):
        yield pointer, value["$commit"]
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from commitments(item, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from commitments(item, f"{pointer}/{place}")


def owner_of(entry: Mapping[str, Any], pointer: str) -> str:
    """The table of owners; only ADDRESS where there is a random part."""
    if pointer in ("/actorEmail", "/actorIp"):
        named = entry["actorType"] != "external" and entry["actorId"] is not None
        return f"person:{entry['actorId']}" if named else ADDRESS
    if entry["action"] == "audit.unparsed":
        return f"raw:{entry['id']}"
    if entry["resourceType"] == "user":
        return f"person:{entry['resourceId']}"
    if entry["actorType"] == "external":
        return ADDRESS
    # A null is written `None`.
    return f"resource:{entry['resourceType']}/{entry['resourceId']}"


class Boxes:
    """The boxes of entries, with the data keys that still exist."""

    def __init__(self, personal: bytes, person_keys: Sequence[Mapping[str, Any]]) -> None:
        self._wrapping = AESGCM(hmac.digest(personal, b"dezky-audit/wrap/v1", "sha256"))
        self._rows = {row["_id"]: row for row in person_keys}

    def faults(self, entry: Mapping[str, Any]) -> Iterator[str]:
        """`metadata`, `sealed` or `actorEmailHmac`, where it is not what it must be; nothing where the key is gone."""
        hidden = dict(commitments({name: entry[name] for name in CANONICAL}))
        parts = _parts(entry, hidden)
        if parts is None:
            yield "metadata"
            return
        boxes = _by_owner(entry["sealed"])
        values = None if boxes is None else self._values(entry, hidden, parts, boxes)
        if values is None:
            yield "sealed"
            return
        told = "/actorEmail" not in hidden or "/actorEmail" in values
        if told and entry["actorEmailHmac"] != _tag_due(values):
            yield "actorEmailHmac"

    def _values(
        self,
        entry: Mapping[str, Any],
        hidden: Mapping[str, str],
        parts: Sequence[frozenset[str]],
        boxes: Mapping[str, bytes],
    ) -> dict[str, Any] | None:
        """Pointer → (data key, value) of all that can be opened; None if a box is missing, odd or not what is due."""
        named: dict[str, frozenset[str]] = {}
        for pointer in hidden.keys() - frozenset().union(*parts):
            owner = owner_of(entry, pointer)
            named[owner] = named.get(owner, frozenset()) | {pointer}
        strangers = {name for name in boxes if not name.startswith(ADDRESS)} - named.keys()
        if strangers or sum(name.startswith(ADDRESS) for name in boxes) != len(parts):
            return None
        if any(self._has_key(owner) for owner in named.keys() - boxes.keys()):
            return None
        free, values = list(parts), dict[str, Any]()
        for name, box in boxes.items():
            if not self._has_key(name):
                continue
            opened = self._opened(entry["id"], name, box)
            pointers = frozenset(opened[1]) if opened else frozenset()
            if opened is None or pointers not in ([named[name]] if name in named else free):
                return None
            if not _matches(opened[1], {pointer: hidden[pointer] for pointer in pointers}):
                return None
            if name not in named:
                free.remove(pointers)
            values |= {pointer: (opened[0], opened[1][pointer]["value"]) for pointer in pointers}
        return values

    def _has_key(self, owner: str) -> bool:
        return self._rows.get(owner, {}).get("wrapped") is not None

    def _opened(self, entry_id: str, owner: str, box: bytes) -> tuple[bytes, dict[str, Any]] | None:
        """The owner's data key and what is in the box; None if one of the two does not open."""
        wrapped = self._rows[owner]["wrapped"]
        if box[:1] != b"\x01":
            return None
        try:
            key = self._wrapping.decrypt(wrapped[:12], wrapped[12:], owner.encode())
            plain = AESGCM(key).decrypt(box[1:13], box[13:], canonical(["dezky-audit/box/v1", owner, entry_id]))
            opened = json.loads(plain)
        except (InvalidTag, ValueError):
            return None
        return (key, opened) if isinstance(opened, dict) else None


def _by_owner(sealed: Any) -> dict[str, bytes] | None:
    """The boxes, if the list is in the form of section 4."""
    if not isinstance(sealed, list) or not all(
        isinstance(one, dict) and set(one) == {"owner", "box"} for one in sealed
    ):
        return None
    owners = [one["owner"] for one in sealed]
    if not all(isinstance(one["owner"], str) and isinstance(one["box"], bytes) for one in sealed):
        return None
    return {one["owner"]: one["box"] for one in sealed} if owners == sorted(set(owners)) else None


def _parts(entry: Mapping[str, Any], hidden: Mapping[str, str]) -> list[frozenset[str]] | None:
    """What each `address:` owner has, by `metadata.addressed` and the table; None if that member is malformed."""
    told = entry["metadata"].get("addressed", [])
    if not isinstance(told, list) or not all(isinstance(array, list) and array for array in told):
        return None
    flat = [pointer for array in told for pointer in array]
    if not all(isinstance(pointer, str) and pointer in hidden for pointer in flat) or len(set(flat)) < len(flat):
        return None
    if any(owner_of(entry, pointer).startswith(("person:", "raw:")) for pointer in flat):
        return None
    rest = frozenset(pointer for pointer in hidden.keys() - set(flat) if owner_of(entry, pointer) == ADDRESS)
    return [*map(frozenset, told), *([rest] if rest else [])]


def _matches(opened: dict[str, Any], pointers: Mapping[str, str]) -> bool:
    """Exactly these pointers, and each value what was committed to."""
    if set(opened) != set(pointers):
        return False
    for pointer, digest in pointers.items():
        one = opened[pointer]
        if not isinstance(one, dict) or set(one) != {"salt", "value"} or not isinstance(one["salt"], str):
            return False
        try:
            salt = base64.b64decode(one["salt"] + "=", altchars=b"-_", validate=True)
            if len(salt) != 32 or commitment(salt, one["value"]) != digest:
                return False
        except (ValueError, NoCanonicalForm):
            return False
    return True


def _tag_due(values: Mapping[str, Any]) -> str | None:
    if "/actorEmail" not in values:
        return None
    key, address = values["/actorEmail"]
    return address_tag(key, address) if isinstance(address, str) else "no string has this tag"
