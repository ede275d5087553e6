"""Personal values: committed to in the chain, sealed beside it, forgotten by destroying a key.

A commitment is HMAC-SHA-256 under a random salt of 32 bytes, so that a hash says nothing about the value without
the salt. Value and salt lie in a box under the data key of the person (AES-256-GCM, NIST SP 800-38D); the data key
lies wrapped in `person_keys`. Destroying that one row leaves commitments that nobody can open, and a chain that
still verifies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.canonical import canonical_json
from services.audit.models import Fact, Stored
from shared.ids import new_id

COMMIT = "$commit"
ADDRESS_OWNER = "address:"
PERSON_OWNER = "person:"
EMAIL = "/actorEmail"
_NONCE = 12
_SALT = 32
_BOX_VERSION = b"\x01"
_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@]{1,253}")

Values = dict[str, tuple[bytes, Any]]
"""RFC 6901 pointer → (salt, value): the content of a box."""


class BoxUnreadableError(Exception):
    """A box or a wrapped key does not open: altered, moved to another entry or owner, or under another key."""


def commitment(salt: bytes, value: object) -> dict[str, str]:
    """`{"$commit": hex(HMAC-SHA-256(salt, RFC 8785 of the value))}`."""
    return {COMMIT: hmac.digest(salt, canonical_json(value), hashlib.sha256).hex()}


def canonical_address(email: str) -> str:
    """The form in which addresses are compared: trimmed, lower case, Unicode NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).lower())


def email_address(value: object) -> str | None:
    """The canonical form of a string that is an e-mail address (RFC 5321's lengths), spaces around it aside."""
    found = isinstance(value, str) and _ADDRESS.fullmatch(value.strip())
    return canonical_address(value) if found and isinstance(value, str) else None


def address_tag(key: bytes, address: str) -> str:
    """What an entry is found by for one actor address. Keyed by the person's data key, so that it dies with it."""
    derived = hmac.digest(key, b"dezky-audit/actor-address/v1", hashlib.sha256)
    return hmac.digest(derived, address.encode(), hashlib.sha256).hex()


def seal(key: bytes, owner: str, entry_id: str, values: Values) -> bytes:
    """Box `values` for one entry and one owner: version byte, nonce, ciphertext and tag."""
    content = {pointer: {"salt": _b64(salt), "value": value} for pointer, (salt, value) in values.items()}
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(key).encrypt(nonce, canonical_json(content), _box_context(owner, entry_id))
    return _BOX_VERSION + nonce + sealed


def open_box(key: bytes, owner: str, entry_id: str, box: bytes) -> Values:
    """The content of a box. Raises BoxUnreadableError."""
    if box[:1] != _BOX_VERSION:
        raise BoxUnreadableError("unknown version of a box")
    nonce, sealed = box[1 : 1 + _NONCE], box[1 + _NONCE :]
    try:
        content = orjson.loads(AESGCM(key).decrypt(nonce, sealed, _box_context(owner, entry_id)))
        return {at: (_unb64(item["salt"]), item["value"]) for at, item in content.items()}
    except (InvalidTag, ValueError, KeyError, TypeError) as error:
        raise BoxUnreadableError("the box does not open") from error


def _box_context(owner: str, entry_id: str) -> bytes:
    return canonical_json(["dezky-audit/box/v1", owner, entry_id])


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Vault:
    """Wraps data keys and digests addresses, both under keys derived from AUDIT_PERSONAL_KEY."""

    def __init__(self, secret: bytes) -> None:
        self._wrapping = AESGCM(hmac.digest(secret, b"dezky-audit/wrap/v1", hashlib.sha256))
        self._addresses = hmac.digest(secret, b"dezky-audit/address/v1", hashlib.sha256)

    def wrap(self, owner: str, key: bytes) -> bytes:
        """The form in which a data key is stored; it opens for this owner only."""
        nonce = os.urandom(_NONCE)
        return nonce + self._wrapping.encrypt(nonce, key, owner.encode())

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """The data key. Raises BoxUnreadableError."""
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], owner.encode())
        except (InvalidTag, ValueError) as error:
            raise BoxUnreadableError(f"the data key of {owner} does not open") from error

    def address_digest(self, address: str) -> str:
        """By what `person_keys` finds the persons who have used a canonical address."""
        return hmac.new(self._addresses, address.encode(), hashlib.sha256).hexdigest()


class KeyRing:
    """The data keys that one batch needs: those that exist, and new ones for owners met for the first time.

    Attributes:
        created: rows to insert into `person_keys`.
        met: owner → digests of addresses that its existing row does not list yet.
        destroyed: owners whose keys this batch takes away.
        forgotten: digests of the addresses of the persons whom this batch erases.
    """

    def __init__(
        self, vault: Vault, rows: Iterable[Mapping[str, Any]], erased: Mapping[str, datetime] | None = None
    ) -> None:
        """`erased`: digests of addresses whose persons were erased, and since when."""
        self._vault = vault
        self._rows: dict[str, Mapping[str, Any]] = {row["_id"]: row for row in rows}
        self._keys: dict[str, bytes | None] = {}
        self._tags: dict[tuple[str, str], str | None] = {}
        self._by_address = {
            digest: owner
            for owner, row in self._rows.items()
            if owner.startswith(ADDRESS_OWNER)
            for digest in row.get("addresses", ())
        }
        self._fresh: set[str] = set()
        self._erased = dict(erased or {})
        self.created: list[Stored] = []
        self.met: dict[str, set[str]] = {}
        self.destroyed: list[str] = []
        self.forgotten: set[str] = set()

    def key(self, owner: str) -> bytes | None:
        """The owner's data key, made now if there was none; None once it has been destroyed."""
        if owner not in self._keys:
            row = self._rows.get(owner)
            if row is None:
                self._keys[owner] = self._create(owner)
            elif row.get("wrapped") is None:
                self._keys[owner] = None
            else:
                self._keys[owner] = self._vault.unwrap(owner, bytes(row["wrapped"]))
        return self._keys[owner]

    def owner_of(self, address: str) -> str:
        """The owner of an actor known by address only. Its name is random: it outlives the address."""
        digest = self._vault.address_digest(address)
        if digest not in self._by_address:
            owner = self._by_address[digest] = ADDRESS_OWNER + new_id()
            if digest in self._erased:
                # Its box alone names the owner, so there must be one: under a key that is never stored.
                self._keys[owner] = os.urandom(32)
                self._rows[owner] = row = {"_id": owner, "erasedAt": self._erased[digest]}
                self.created.append(row)
        return self._by_address[digest]

    def erased_of(self, addresses: Iterable[str]) -> str | None:
        """The first of some canonical addresses whose person was erased."""
        if not self._erased:
            return None
        return next((one for one in addresses if self._vault.address_digest(one) in self._erased), None)

    def remember(self, owner: str, address: str) -> None:
        """Let `address` lead to `owner` in the actor filter; an erased owner is left alone."""
        if self.key(owner) is None or "wrapped" not in self._rows[owner]:
            return
        digest = self._vault.address_digest(address)
        row = self._rows[owner]
        if digest in row["addresses"]:
            return
        if owner in self._fresh:
            row["addresses"].append(digest)
        else:
            self.met.setdefault(owner, set()).add(digest)

    def destroy(self, owner: str, digests: Iterable[str], at: datetime) -> None:
        """Have no key for `owner`, and none for whoever is known by one of these addresses only, now and later.

        What the batch says of `owner` is committed to and not boxed, wherever in it that stands.
        """
        self._keys[owner] = None
        self.destroyed.append(owner)
        for digest in digests:
            self.forgotten.add(digest)
            self._erased.setdefault(digest, at)
            if (known := self._by_address.get(digest)) is not None:
                self.destroyed.append(known)

    def tag(self, owner: str, address: str) -> str | None:
        """What entries of `owner` under `address` are found by; None once the key has been destroyed."""
        if (owner, address) not in self._tags:
            key = self.key(owner)
            erased = key is None or "wrapped" not in self._rows[owner]
            self._tags[owner, address] = None if key is None or erased else address_tag(key, address)
        return self._tags[owner, address]

    def _create(self, owner: str) -> bytes:
        key = os.urandom(32)
        row: Stored = {"_id": owner, "wrapped": self._vault.wrap(owner, key), "addresses": []}
        self._rows[owner] = row
        self._fresh.add(owner)
        self.created.append(row)
        return key


def commit_fact(fact: Fact, ring: KeyRing) -> Stored:
    """The fact with every personal value replaced by its commitment, and the boxes beside it.

    Returns a new mapping without `v`, `seq`, `prevHash` and `hash`. The fact is left as it was, because a
    transaction that is repeated commits it again.
    """
    fields = dict(fact.fields)
    if any(owned.pointer.startswith("/metadata/") for owned in fact.personal):
        fields["metadata"] = orjson.loads(orjson.dumps(fields["metadata"]))
    boxes: dict[str, Values] = {}
    tag: str | None = None
    # One call for all: asking the kernel costs more than the bytes.
    salts = os.urandom(_SALT * len(fact.personal))
    handle = ring.erased_of(fact.mentions) or fact.handle
    for number, owned in enumerate(fact.personal):
        owner = owned.owner or ring.owner_of(owned.address or handle or fact.id)
        salt = salts[number * _SALT : (number + 1) * _SALT]
        node, step = _locate(fields, owned.pointer)
        value = node[step]
        node[step] = commitment(salt, value)
        boxes.setdefault(owner, {})[owned.pointer] = (salt, value)
        met_as = owned.address or (handle if owned.owner is None else fact.address if owned.pointer == EMAIL else None)
        if met_as is not None:
            ring.remember(owner, met_as)
        if fact.address is not None and owned.pointer == EMAIL:
            tag = ring.tag(owner, fact.address)
    sealed = [
        {"owner": owner, "box": seal(key, owner, fact.id, values)}
        for owner, values in sorted(boxes.items())
        if (key := ring.key(owner)) is not None
    ]
    return {**fields, "sealed": sealed, "actorEmailHmac": tag}


def pointer_of(*names: str | int) -> str:
    """The RFC 6901 pointer of a path."""
    return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in names)


def replace(document: Any, pointer: str, value: object) -> Any:
    """Put `value` at `pointer` and return what was there. Raises KeyError or IndexError if nothing was."""
    node, step = _locate(document, pointer)
    before = node[step]
    node[step] = value
    return before


def _locate(document: Any, pointer: str) -> tuple[Any, str | int]:
    """The node that holds what `pointer` names, and its place in that node."""
    *parents, last = _names_of(pointer)
    node = document
    for name in parents:
        node = node[int(name) if isinstance(node, list) else name]
    return node, int(last) if isinstance(node, list) else last


# Contracts have a few dozen personal fields; the bound is for members that no contract knows.
@lru_cache(maxsize=1_024)
def _names_of(pointer: str) -> tuple[str, ...]:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def commitments(entry: Mapping[str, Any]) -> dict[str, str]:
    """Pointer → commitment of every personal value of an entry."""
    found: dict[str, str] = {}
    for name in ("actorEmail", "actorIp", "resourceName", "metadata"):
        _collect(entry[name], (name,), found)
    return found


def _collect(value: Any, path: tuple[str | int, ...], found: dict[str, str]) -> None:
    if isinstance(value, dict):
        if COMMIT in value:
            found[pointer_of(*path)] = value[COMMIT]
            return
        items: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return
    for name, item in items:
        if isinstance(item, dict | list):
            _collect(item, (*path, name), found)
