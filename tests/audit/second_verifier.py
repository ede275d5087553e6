"""A second verifier of the audit log, written from docs/audit-format.md alone by who had not read the first one.

It shares no line with the product and imports nothing of it. The sections named here are those of the document. It
reads plain data: what MongoDB and the witness hold, and the keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.audit.second_boxes import Boxes
from tests.audit.second_canonical import CANONICAL, NoCanonicalForm, canonical, content_hash, is_commitment, is_integer

ZEROS = "0" * 64
HEX = re.compile(r"[0-9a-f]{64}")
STORED = {*CANONICAL, "hash", "_id", "actions", "sealed", "actorEmailHmac"}
SIGNED = ("number", "at", "headSeq", "headHash", "rootHash", "prevCheckpointHash", "reason")
STRINGS = ("id", "actorType", "action", "outcome", "source")
STRINGS_OR_NULL = ("actorId", "surface", "resourceType", "resourceId", "tenantSlug", "partnerSlug")
REASONS = ("startup", "interval", "threshold", "manual")


@dataclass(eq=False)
class Break(Exception):
    """The first break. `seq` or `head_seq` is its place; `verified` counts the entries before it."""

    kind: str
    seq: int | None = None
    head_seq: int | None = None
    checkpoint: int | None = None
    field: str | None = None
    expected: str | None = None
    actual: str | None = None
    verified: int = 0


@dataclass(frozen=True)
class Key:
    """A key of checkpoints: the secret of an HMAC, the public half of an Ed25519 key; and the numbers that it signs."""

    algorithm: str
    key: bytes
    first: int = 1
    last: int | None = None

    @property
    def key_id(self) -> str:
        if self.algorithm == "Ed25519":
            return hashlib.sha256(self.key).hexdigest()[:16]
        return hmac.new(self.key, b"dezky-audit/key-id/v1", "sha256").hexdigest()[:16]

    def covers(self, number: int) -> bool:
        return self.first <= number and (self.last is None or number <= self.last)

    def made(self, signature: bytes, message: bytes) -> bool:
        if self.algorithm != "Ed25519":
            return hmac.compare_digest(signature, hmac.new(self.key, message, "sha256").digest())
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Evidence:
    """All that is given (section 8). `entries` and `checkpoints` in the order of `_id`; `witness` by number.

    Without `personal` (AUDIT_PERSONAL_KEY) boxes are not looked at; without an HMAC key its signatures are not.
    """

    entries: Sequence[Mapping[str, Any]]
    head: Mapping[str, Any] | None
    checkpoints: Sequence[Mapping[str, Any]] = ()
    witness: Mapping[int, bytes] = field(default_factory=dict)
    keys: Sequence[Key] = ()
    person_keys: Sequence[Mapping[str, Any]] = ()
    personal: bytes | None = None


def verify(evidence: Evidence) -> Break | None:
    """None if the log is whole, else its first break."""
    try:
        _Walk(evidence).run()
    except Break as found:
        return found
    return None


class Roots:
    """The root of RFC 6962 section 2.1 in one pass: a stack of the roots of perfect subtrees (section 6)."""

    def __init__(self) -> None:
        self.count = 0
        self._stack: list[bytes] = []

    def add(self, digest: str) -> None:
        self._stack.append(leaf(digest))
        self.count += 1
        n = self.count
        while n % 2 == 0:
            self._merge(self._stack)
            n //= 2

    def root(self) -> str:
        stack = list(self._stack)
        while len(stack) > 1:
            self._merge(stack)
        return stack[0].hex()

    @staticmethod
    def _merge(stack: list[bytes]) -> None:
        right, left = stack.pop(), stack.pop()
        stack.append(hashlib.sha256(b"\x01" + left + right).digest())


def leaf(digest: str) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(digest)).digest()


class _Walk:
    """Section 8, with its names: `place`, `previous`, `before`."""

    def __init__(self, evidence: Evidence) -> None:
        self._given = evidence
        self._boxes = Boxes(evidence.personal, evidence.person_keys) if evidence.personal is not None else None
        self._place, self._previous, self._before = 0, ZEROS, ZEROS
        self._roots = Roots()
        self._reached = 0
        self._strangers = [e["_id"] for e in evidence.entries if not _from_one(e["_id"])]
        self._entries = [e for e in evidence.entries if _from_one(e["_id"])]

    def run(self) -> None:
        head = self._given.head
        if head is None:
            if self._given.entries:
                raise Break("truncated-tail", head_seq=0)
        elif not (is_integer(head.get("seq")) and isinstance(head.get("hash"), str)):
            raise Break("truncated-tail", head_seq=0)
        self._end = 0 if head is None else int(head["seq"])
        newest = self._newest()
        if self._strangers:
            raise Break("seq-gap", seq=1, expected="1", actual=str(self._strangers[0]))
        for number in range(1, newest + 1):
            self._checkpoint(number)
        self._tail(head)

    def _newest(self) -> int:
        """Step B, and N. A double is no number of a checkpoint, even if it is whole."""
        ids = [row["_id"] for row in self._given.checkpoints]
        if any(not _from_one(i) for i in ids) or (ids and not is_integer(max(ids))):
            raise Break("checkpoint-signature-mismatch", head_seq=0, checkpoint=0)
        return max([0, *map(int, ids), *self._given.witness])

    def _tail(self, head: Mapping[str, Any] | None) -> None:
        """Step D."""
        if not self._entries_to(self._end):
            raise self._truncated()
        if head is not None and head["hash"] != self._previous:
            raise self._truncated()
        if self._reached < len(self._entries):
            raise self._truncated()

    def _truncated(self, number: int | None = None) -> Break:
        return Break("truncated-tail", head_seq=self._end, checkpoint=number, verified=self._place)

    # -- C: a checkpoint ------------------------------------------------------------------------------------------

    def _checkpoint(self, number: int) -> None:
        copy = self._given.witness.get(number)
        rows = [row for row in self._given.checkpoints if int(row["_id"]) == number]
        written = [_with_number(row) for row in rows]
        if copy is not None:
            checkpoint = _parsed(number, copy)
        else:
            checkpoint = next((w for w in written if w["number"] != number), written[0] if written else None)

        def broken() -> Break:
            named = checkpoint.get("headSeq") if isinstance(checkpoint, dict) else None
            at = int(named) if _number(named) else self._place  # type: ignore[arg-type]
            return Break("checkpoint-signature-mismatch", head_seq=at, checkpoint=number, verified=self._place)

        if not _well_formed(checkpoint) or checkpoint["number"] != number or len(rows) > 1:
            raise broken()
        if not self._signed(checkpoint) or (copy is not None and any(_body(w) != copy for w in written)):
            raise broken()
        if checkpoint["prevCheckpointHash"] != self._before or checkpoint["headSeq"] <= self._place:
            raise broken()
        if not self._entries_to(checkpoint["headSeq"]):
            raise self._truncated(number)
        if checkpoint["headHash"] != self._previous or checkpoint["rootHash"] != self._roots.root():
            raise broken()
        if copy is not None and not rows:
            raise broken()
        self._before = hashlib.sha256(signed_bytes(checkpoint)).hexdigest()

    def _signed(self, checkpoint: dict[str, Any]) -> bool:
        """Exactly one signature of every key whose window holds the number, and no other (section 6)."""
        message = signed_bytes(checkpoint)
        due = {(k.algorithm, k.key_id): k for k in self._given.keys if k.covers(checkpoint["number"])}
        if not checkpoint["signatures"]:
            return False
        holds_hmac = any(k.algorithm != "Ed25519" for k in self._given.keys)
        for signature in checkpoint["signatures"]:
            if signature["sigAlg"] == "HMAC-SHA-256" and not holds_hmac:
                continue
            key = due.pop((signature["sigAlg"], signature["keyId"]), None)
            raw = _decoded(signature["signature"])
            if key is None or raw is None or not key.made(raw, message):
                return False
        return not due

    # -- E: entries -----------------------------------------------------------------------------------------------

    def _entries_to(self, up_to: int) -> bool:
        """Check the entries after `place` up to that number; False if they run out."""
        while self._place < up_to:
            entry = self._entries[self._reached] if self._reached < len(self._entries) else None
            if entry is None or entry["_id"] > self._end:
                return False
            self._entry(entry)
            self._reached += 1
        return True

    def _entry(self, entry: Mapping[str, Any]) -> None:
        due = self._place + 1

        def broken(kind: str, expected: object, actual: object, member: str | None = None) -> Break:
            place = {"seq": due, "verified": self._place, "field": member}
            return Break(kind, expected=str(expected), actual=str(actual), **place)  # type: ignore[arg-type]

        for name in ("_id", "seq"):
            if not is_integer(entry.get(name)) or entry[name] != due:
                raise broken("seq-gap", due, entry.get(name))
        if entry.get("prevHash") != self._previous:
            raise broken("event-prev-hash-mismatch", self._previous, entry.get("prevHash"))
        try:
            computed = content_hash(entry) if set(entry) == STORED else "members of sections 1 and 5"
        except NoCanonicalForm as problem:
            computed = f"no canonical form: {problem}"
        if entry.get("hash") != computed:
            raise broken("event-hash-mismatch", computed, entry.get("hash"))
        member = next(self._faults(entry), None)
        if member is not None:
            raise broken("event-hash-mismatch", "what the document says", "something else", member)
        self._roots.add(computed)
        self._previous, self._place = computed, due

    def _faults(self, entry: Mapping[str, Any]) -> Iterator[str]:
        """The members that are wrong by steps 4 and 5."""
        yield from ill_typed(entry)
        if entry["actions"] != forms(entry["action"]):
            yield "actions"
        if self._boxes is not None:
            yield from self._boxes.faults(entry)


def ill_typed(entry: Mapping[str, Any]) -> Iterator[str]:
    """Members that have not the type of section 1."""
    if not is_integer(entry["v"]) or entry["v"] != 1:
        yield "v"
    if not isinstance(entry["at"], str) or not _is_time(entry["at"]):
        yield "at"
    yield from (name for name in STRINGS if not isinstance(entry[name], str))
    yield from (name for name in STRINGS_OR_NULL if not isinstance(entry[name], str | None))
    yield from (name for name in ("actorEmail", "actorIp") if not (entry[name] is None or is_commitment(entry[name])))
    if not (isinstance(entry["resourceName"], str | None) or is_commitment(entry["resourceName"])):
        yield "resourceName"
    if not isinstance(entry["metadata"], dict):
        yield "metadata"


def forms(action: str) -> list[str]:
    """`a.b.c` gives a.b.c, a.*, a.b.* (section 5)."""
    words = action.split(".")
    return [action, *(".".join([*words[:n], "*"]) for n in range(1, len(words)))]


def signed_bytes(checkpoint: Mapping[str, Any]) -> bytes:
    return canonical({name: checkpoint[name] for name in SIGNED})


def _body(checkpoint: dict[str, Any]) -> bytes | None:
    try:
        return canonical(checkpoint)
    except NoCanonicalForm:
        return None


def _parsed(number: int, body: bytes) -> dict[str, Any] | None:
    """The copy, if it is the RFC 8785 form of an object with that number."""
    try:
        parsed = json.loads(body.decode())
        fits = isinstance(parsed, dict) and parsed.get("number") == number and canonical(parsed) == body
    except (ValueError, RecursionError, NoCanonicalForm):
        return None
    return parsed if fits else None


def _with_number(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as the witness would have it; a member `number` of its own makes it ill-formed."""
    body = {name: value for name, value in row.items() if name != "_id"}
    return {**body, "number": "twice" if "number" in body else row["_id"]}


def _well_formed(checkpoint: Any) -> bool:
    if not isinstance(checkpoint, dict) or set(checkpoint) != {*SIGNED, "signatures", "note"}:
        return False
    hashes = (checkpoint[name] for name in ("headHash", "rootHash", "prevCheckpointHash"))
    return (
        _number(checkpoint["number"])
        and _number(checkpoint["headSeq"])
        and all(isinstance(h, str) and HEX.fullmatch(h) for h in hashes)
        and isinstance(checkpoint["at"], str)
        and _is_time(checkpoint["at"])
        and checkpoint["reason"] in REASONS
        and isinstance(checkpoint["note"], str | None)
        and isinstance(checkpoint["signatures"], list)
        and all(_is_signature(s) for s in checkpoint["signatures"])
    )


def _is_signature(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"sigAlg", "keyId", "signature"}
        and all(isinstance(text, str) for text in value.values())
    )


def _decoded(text: str) -> bytes | None:
    """The bytes, if the text is the one that base64 has for them."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _is_time(text: str) -> bool:
    return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", text) is not None


def _number(value: Any) -> bool:
    return is_integer(value) and 1 <= value < 2**53


def _from_one(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1
