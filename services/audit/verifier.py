"""What an entry must be, as docs/audit-format.md says it: its place, its link, its hash, and what lies beside them.

What is stored beside the canonical form (`actions`, `sealed`, `actorEmailHmac`) is checked too, as far as
the keys that exist allow.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from services.audit.canonical import FIELDS, FORMAT_VERSION, NotCanonicalError, entry_hash
from services.audit.facts import UNPARSED
from services.audit.models import DERIVED, Break, BreakKind, Head, Stored, action_terms
from services.audit.personal import (
    ADDRESS_OWNER,
    COMMIT,
    EMAIL,
    BoxUnreadableError,
    Values,
    Vault,
    address_tag,
    canonical_address,
    commitment,
    commitments,
    open_box,
)

_MEMBERS = frozenset((*FIELDS, *DERIVED))
MOST_FINDINGS = 100
_TEXTS = ("id", "at", "actorType", "action", "outcome", "source", "prevHash")
_TEXTS_OR_NULL = ("actorId", "surface", "resourceType", "resourceId", "tenantSlug", "partnerSlug")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_UNREADABLE = "a box that opens under the owner's key"


class Log(Protocol):
    """What is verified: the repository, or a fake of it."""

    async def head(self) -> Head | None: ...

    async def ends(self) -> tuple[int | None, int | None]: ...

    async def archived_up_to(self) -> int | None: ...

    def walk(self, after: int, up_to: int) -> AsyncIterator[list[Stored]]: ...

    async def keys_for(self, owners: Iterable[str], digests: Iterable[str]) -> list[dict[str, Any]]: ...


class ChainBrokenError(Exception):
    """Carries the break to where the verdict is made."""

    def __init__(
        self,
        kind: BreakKind,
        seq: int,
        expected: object,
        actual: object,
        field: str | None = None,
        checkpoint: int | None = None,
    ) -> None:
        super().__init__(kind)
        self.broken = Break(kind, seq, str(expected), str(actual), field, checkpoint)


class ChainLinks:
    """The hash chain itself: the place reached and its hash, and what the next entry must be."""

    def __init__(self, at: Head | None = None) -> None:
        self.at = Head() if at is None else at

    def check(self, entry: Stored) -> None:
        """Check place, link, members and hash of the next entry, and step over it. Raises ChainBrokenError."""
        self.look(entry)
        self.step(entry)

    def look(self, entry: Stored) -> None:
        """Check without stepping. Raises ChainBrokenError."""
        self._check_place(entry)
        self._check_content(entry)

    def step(self, entry: Stored) -> None:
        self.at = Head(self.at.seq + 1, entry["hash"])

    def _check_place(self, entry: Stored) -> None:
        place = self.at.seq + 1
        for name in ("_id", "seq"):
            # A double that equals the number is not it: readers of other languages would see `3.0`.
            if not _is_integer(entry.get(name)) or entry[name] != place:
                raise ChainBrokenError("seq-gap", place, place, entry.get(name), None if name == "_id" else name)

    def _check_content(self, entry: Stored) -> None:
        place = self.at.seq + 1
        if entry.get("prevHash") != self.at.hash:
            raise ChainBrokenError("event-prev-hash-mismatch", place, self.at.hash, entry.get("prevHash"))
        if odd := _MEMBERS.symmetric_difference(entry):
            name = min(odd)
            state = "an unknown member" if name in entry else "a missing member"
            raise ChainBrokenError("event-hash-mismatch", place, "exactly the members of the format", state, name)
        try:
            computed = entry_hash(entry)
        except NotCanonicalError as error:
            raise ChainBrokenError("event-hash-mismatch", place, error, entry["hash"]) from error
        if computed != entry["hash"]:
            raise ChainBrokenError("event-hash-mismatch", place, computed, entry["hash"])


class ChainWalk:
    """The state of a verification between two entries: the place reached, and keys that were missed."""

    def __init__(self, vault: Vault, at: Head | None = None) -> None:
        self._vault = vault
        self._links = ChainLinks(at)
        self.lost_keys: set[str] = set()
        self._keys: dict[str, bytes] = {}

    @property
    def at(self) -> Head:
        return self._links.at

    def forget_keys(self) -> None:
        """Unwrapped keys are kept for one batch: a key that is destroyed meanwhile must not live on here."""
        self._keys = {}

    def check(self, entry: Stored, keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Check the next entry whole. Raises ChainBrokenError if it does not hold; then the place does not count."""
        self._links.look(entry)
        _check_types(entry)
        _check_derived(entry)
        self._check_personal(entry, keys)
        self._links.step(entry)

    def _check_personal(self, entry: Stored, keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Every commitment is in the box of its owner and opens to it, unless the owner's key was destroyed."""
        boxes = _boxes(entry)
        hidden = commitments(entry)
        parts = _addressed(entry, hidden)
        by_owner: dict[str, dict[str, str]] = {}
        for pointer, owner in _owners(entry, hidden).items():
            by_owner.setdefault(owner, {})[pointer] = hidden[pointer]
        if rest := by_owner.pop(ADDRESS_OWNER, {}):
            parts.append(rest)
        addressed = [owner for owner in boxes if owner.startswith(ADDRESS_OWNER)]
        if odd := boxes.keys() - by_owner - set(addressed):
            raise _derived(entry, "sealed", "boxes of the owners of this entry only", min(odd))
        if len(addressed) != len(parts):
            raise _derived(entry, "sealed", f"{len(parts)} boxes of addresses", len(addressed))
        for owner in sorted(by_owner):
            self._check_box(entry, owner, [by_owner[owner]], boxes.get(owner), keys.get(owner))
        for owner in addressed:
            self._check_box(entry, owner, parts, boxes[owner], keys.get(owner))
        if EMAIL not in hidden and entry["actorEmailHmac"] is not None:
            raise _derived(entry, "actorEmailHmac", None, entry["actorEmailHmac"])

    def _check_box(
        self,
        entry: Stored,
        owner: str,
        parts: list[dict[str, str]],
        box: bytes | None,
        row: Mapping[str, Any] | None,
    ) -> None:
        """`parts`: what the box may hold, one of them whole; that is taken out of the list."""
        if row is None:
            # Erasure leaves its row behind. No row at all is an alarm, although no hash is broken by it.
            if len(self.lost_keys) < MOST_FINDINGS:
                self.lost_keys.add(owner)
            return
        if row.get("wrapped") is None:
            return
        if box is None:
            raise _derived(entry, "sealed", f"a box of {owner}", "none")
        try:
            key = self._key(owner, row)
            values = open_box(key, owner, entry["id"], box)
        except BoxUnreadableError as error:
            raise _derived(entry, "sealed", _UNREADABLE, error) from error
        _check_values(entry, parts, values)
        if EMAIL in values:
            _check_tag(entry, key, values)

    def _key(self, owner: str, row: Mapping[str, Any]) -> bytes:
        if owner not in self._keys:
            self._keys[owner] = self._vault.unwrap(owner, bytes(row["wrapped"]))
        return self._keys[owner]


def _check_values(entry: Stored, parts: list[dict[str, str]], values: Values) -> None:
    opened = {pointer: commitment(salt, value)[COMMIT] for pointer, (salt, value) in values.items()}
    if opened not in parts:
        expected = next((part for part in parts if part.keys() == opened.keys()), parts[0])
        raise _derived(entry, "sealed", dict(sorted(expected.items())), dict(sorted(opened.items())))
    parts.remove(opened)


def _check_tag(entry: Stored, key: bytes, values: Values) -> None:
    tag = address_tag(key, canonical_address(values[EMAIL][1]))
    stored = entry["actorEmailHmac"]
    if not isinstance(stored, str) or not hmac.compare_digest(tag.encode(), stored.encode()):
        raise _derived(entry, "actorEmailHmac", tag, stored)


def _check_types(entry: Stored) -> None:
    """The types of the format: what hashes well but is no entry, no writer of this format has written."""
    fits = {name: type(entry[name]) is str for name in _TEXTS}
    fits |= {name: entry[name] is None or type(entry[name]) is str for name in _TEXTS_OR_NULL}
    fits |= {name: entry[name] is None or _is_commitment(entry[name]) for name in ("actorEmail", "actorIp")}
    name = entry["resourceName"]
    fits["v"] = _is_integer(entry["v"]) and entry["v"] == FORMAT_VERSION
    fits["resourceName"] = name is None or type(name) is str or _is_commitment(name)
    fits["metadata"] = type(entry["metadata"]) is dict and _names_fit(entry["metadata"])
    fits["at"] = fits["at"] and _MOMENT.fullmatch(entry["at"]) is not None
    for field, good in fits.items():
        if not good:
            raise _derived(entry, field, "a value of the type that the format names", type(entry[field]).__name__)


def _is_integer(value: object) -> bool:
    """BSON's Int64 is one, a boolean and a double are none."""
    return isinstance(value, int) and type(value) is not bool


def _names_fit(value: object) -> bool:
    """Whether no member name below is reserved: `$commit` belongs to a commitment and to nothing else."""
    if isinstance(value, dict):
        for name in value:
            if (name[:1] == "$" or "\0" in name) and not _is_commitment(value):
                return False
        below: Iterable[object] = value.values()
    else:
        below = value if isinstance(value, list) else ()
    # Most values are strings: spare them the call.
    return all(_names_fit(item) for item in below if isinstance(item, dict | list))


def _is_commitment(value: object) -> bool:
    if type(value) is not dict or value.keys() != {COMMIT}:
        return False
    digest = value[COMMIT]
    return type(digest) is str and _HASH.fullmatch(digest) is not None


def _check_derived(entry: Stored) -> None:
    terms = action_terms(entry["action"])
    if entry["actions"] != terms:
        raise _derived(entry, "actions", terms, entry["actions"])


def _derived(entry: Stored, field: str, expected: object, actual: object) -> ChainBrokenError:
    return ChainBrokenError("event-hash-mismatch", entry["seq"], expected, actual, field)


def _boxes(entry: Stored) -> dict[str, bytes]:
    sealed = entry["sealed"]
    if type(sealed) is not list or not all(_is_box(item) for item in sealed):
        raise _derived(entry, "sealed", "a list of {owner, box}", sealed)
    boxes = {item["owner"]: bytes(item["box"]) for item in sealed}
    # One order: boxes that change places would be a place to write in.
    if [item["owner"] for item in sealed] != sorted(boxes):
        raise _derived(entry, "sealed", "one box for each owner, sorted", [item["owner"] for item in sealed])
    return boxes


def _is_box(item: object) -> bool:
    if type(item) is not dict or item.keys() != {"owner", "box"}:
        return False
    return type(item["owner"]) is str and isinstance(item["box"], bytes)


def _owners(entry: Stored, hidden: Iterable[str]) -> dict[str, str]:
    """Pointer → owner, as the canonical fields decide it (section «Owners» of the format).

    ADDRESS_OWNER alone stands for one that is known by address: its name is random, and only the box tells it. What
    `metadata.addressed` lists is left out.
    """
    if entry["actorId"] is not None and entry["actorType"] != "external":
        actor = f"person:{entry['actorId']}"
    else:
        actor = ADDRESS_OWNER
    if entry["action"] == UNPARSED:
        resource = f"raw:{entry['id']}"
    elif entry["resourceType"] == "user":
        resource = f"person:{entry['resourceId']}"
    elif entry["actorType"] == "external":
        resource = actor
    else:
        resource = f"resource:{entry['resourceType']}/{entry['resourceId']}"
    owners = {pointer: actor if pointer in {EMAIL, "/actorIp"} else resource for pointer in hidden}
    for pointer in _listed(entry):
        if owners.get(pointer, "").startswith((ADDRESS_OWNER, "resource:")):
            del owners[pointer]
    return owners


def _listed(entry: Stored) -> list[str]:
    groups = entry["metadata"].get("addressed", [])
    return [pointer for group in groups for pointer in group]


def _addressed(entry: Stored, hidden: Mapping[str, str]) -> list[dict[str, str]]:
    """What belongs to each address that `metadata.addressed` tells of: pointer → commitment."""
    groups = entry["metadata"].get("addressed", [])
    lists = type(groups) is list and all(type(group) is list and group for group in groups)
    if not lists or not all(type(pointer) is str for group in groups for pointer in group):
        raise _derived(entry, "metadata", "lists of pointers in addressed", type(groups).__name__)
    listed = _listed(entry)
    if odd := [pointer for pointer in listed if listed.count(pointer) > 1 or pointer not in hidden]:
        raise _derived(entry, "metadata", "each commitment at most once in addressed", odd[0])
    if odd := [pointer for pointer in listed if pointer in _owners(entry, hidden)]:
        raise _derived(entry, "metadata", "commitments in addressed that have no other owner", odd[0])
    return [{pointer: hidden[pointer] for pointer in group} for group in groups]


def owners_of(batch: Sequence[Stored]) -> set[str]:
    """Whose keys a check of these entries needs."""
    return {item["owner"] for entry in batch for item in _sealed(entry)} | _named_owners(batch)


def _sealed(entry: Stored) -> Sequence[Mapping[str, Any]]:
    sealed = entry.get("sealed")
    if not isinstance(sealed, list):
        return ()
    return [item for item in sealed if isinstance(item, dict) and isinstance(item.get("owner"), str)]


def _named_owners(batch: Sequence[Stored]) -> set[str]:
    return {owner for entry in batch for owner in _owners_or_none(entry)}


def _owners_or_none(entry: Stored) -> Iterable[str]:
    try:
        return _owners(entry, commitments(entry)).values()
    except (KeyError, TypeError, AttributeError):  # damaged: the walk names it
        return ()
