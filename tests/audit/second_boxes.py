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
        """`sealed` or `actorEmailHmac`, where it is not what it must be. Nothing can be said where the key is gone."""
        boxes = _by_owner(entry["sealed"])
        due: dict[str, dict[str, str]] = {}
        for pointer, digest in commitments({name: entry[name] for name in CANONICAL}):
            due.setdefault(owner_of(entry, pointer), {})[pointer] = digest
        if boxes is None or not self._owners_fit(set(due), set(boxes)):
            yield "sealed"
            return
        values: dict[str, Any] = {}
        keyless = False
        for owner, pointers in due.items():
            name = _full_name(owner, boxes)
            if not self._has_key(name):
                keyless = keyless or "/actorEmail" in pointers
                continue
            opened = self._opened(entry["id"], name, boxes[name])
            if opened is None or not _matches(opened[1], pointers):
                yield "sealed"
                return
            values |= {pointer: (opened[0], opened[1][pointer]["value"]) for pointer in pointers}
        if not keyless and entry["actorEmailHmac"] != _tag_due(values):
            yield "actorEmailHmac"

    def _owners_fit(self, due: set[str], boxed: set[str]) -> bool:
        """No box of a stranger, and none missing whose owner has a key (an address that is erased is not met again)."""
        names = {ADDRESS if name.startswith(ADDRESS) else name for name in boxed}
        if not names <= due or sum(name.startswith(ADDRESS) for name in boxed) > 1:
            return False
        return all(owner != ADDRESS and not self._has_key(owner) for owner in due - names)

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


def _full_name(owner: str, boxes: Mapping[str, bytes]) -> str:
    return next((name for name in boxes if owner == ADDRESS and name.startswith(ADDRESS)), owner)


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
