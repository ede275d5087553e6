"""The signed log in memory, for an attacker who may write all of MongoDB, and what signs it in tests.

Checkpoints are made here by the document and the standard library: nothing is computed by the code under test.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import bson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.canonical import FIELDS
from services.audit.checkpoints.keys import CheckpointKeys, Ed25519Key, HmacKey, Tenure
from services.audit.checkpoints.witness import Witness
from services.audit.models import Head, Stored, Verdict
from services.audit.personal import Vault
from services.audit.verifications.places import Scope
from services.audit.verifications.sources import NO_WITNESS, Checkpoints, Source
from services.audit.verifications.verification import Anchor, Verification
from services.audit.verifier import Log
from shared.errors import Unavailable
from shared.testing import ManualClock

Row = dict[str, Any]
SECRET = hashlib.sha256(b"a signing key of tests").digest()
SEED = hashlib.sha256(b"a checkpoint key of tests").digest()
OTHER_SECRET = hashlib.sha256(b"a signing key of an attacker").digest()
OTHER_SEED = hashlib.sha256(b"a checkpoint key of an attacker").digest()
RETENTION_DAYS = 30
SIGNED = ("at", "headSeq", "headHash", "number", "prevCheckpointHash", "reason", "rootHash")


def keys(*more: Tenure) -> CheckpointKeys:
    """The service's keys."""
    return CheckpointKeys([Tenure(HmacKey(SECRET)), Tenure(Ed25519Key.from_seed(SEED)), *more])


# the document, with the standard library


def canonical(value: object) -> bytes:
    """RFC 8785: member names are ASCII here, so sorted JSON is canonical."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rehashed(entry: Stored) -> Stored:
    """The entry with its own hash."""
    return entry | {"hash": hashlib.sha256(canonical({name: entry[name] for name in FIELDS})).hexdigest()}


def root_of(hashes: Sequence[str]) -> str:
    """RFC 6962 section 2.1, read aloud: MTH of the leaves."""
    return _mth([bytes.fromhex(digest) for digest in hashes]).hex()


def _mth(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _mth(leaves[:split]) + _mth(leaves[split:])).digest()


def signed_part(row: Row) -> bytes:
    return canonical({name: row["_id"] if name == "number" else row[name] for name in SIGNED})


def signatures(row: Row, secret: bytes = SECRET, *seeds: bytes) -> list[dict[str, str]]:
    """The signatures that a checkpoint carries: HMAC, then Ed25519 by key id."""
    message = signed_part(row)
    id_ = hmac.digest(secret, b"dezky-audit/key-id/v1", "sha256").hex()[:16]
    found = [("HMAC-SHA-256", id_, hmac.digest(secret, message, "sha256"))]
    for seed in seeds or (SEED,):
        key = Ed25519PrivateKey.from_private_bytes(seed)
        id_ = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
        found.append(("Ed25519", id_, key.sign(message)))
    found = [found[0], *sorted(found[1:], key=lambda item: item[1])]
    return [{"sigAlg": a, "keyId": k, "signature": base64.b64encode(s).decode()} for a, k, s in found]


def checkpoint(number: int, hashes: Sequence[str], before: Row | None, *seeds: bytes, secret: bytes = SECRET) -> Row:
    """A checkpoint of these entries."""
    row: Row = {
        "_id": number,
        "at": f"2026-11-22T12:{number % 60:02d}:00.000Z",
        "headSeq": len(hashes),
        "headHash": hashes[-1],
        "rootHash": root_of(hashes),
        "prevCheckpointHash": "0" * 64 if before is None else hashlib.sha256(signed_part(before)).hexdigest(),
        "reason": "threshold",
    }
    return row | {"signatures": signatures(row, secret, *seeds), "note": None}


def copy_of(row: Row) -> bytes:
    """What the witness holds of a checkpoint."""
    return canonical({"number": row["_id"], **{name: row[name] for name in row if name != "_id"}})


def key_of(number: int) -> str:
    return f"checkpoints/{number:012d}.json"


# in memory


class MemoryLog:
    """A log as it lies in MongoDB, for an attacker who may write everything (test_chain.py has the real one)."""

    def __init__(self, entries: Sequence[Stored], keys: Sequence[Stored], batch: int = 4) -> None:
        self.entries: dict[float, Stored] = {
            entry["seq"]: _as_stored({"_id": entry["seq"], **entry}) for entry in entries
        }
        self.keys = {row["_id"]: _as_stored(row) for row in keys}
        self.chain_head: Head | None = Head(entries[-1]["seq"], entries[-1]["hash"]) if entries else None
        self.walked = 0
        self._batch = batch  # small, so that the chain crosses batches

    async def head(self) -> Head | None:
        return self.chain_head

    async def ends(self) -> tuple[int | None, int | None]:
        return (math.floor(min(self.entries)), math.ceil(max(self.entries))) if self.entries else (None, None)

    async def archived_up_to(self) -> int | None:
        return None

    async def walk(self, after: int, up_to: int) -> AsyncIterator[list[Stored]]:
        places = sorted(number for number in self.entries if after < number <= up_to)
        for start in range(0, len(places), self._batch):
            batch = [self.entries[number] for number in places[start : start + self._batch]]
            self.walked += len(batch)
            yield batch

    async def keys_for(self, owners: Iterable[str], digests: Iterable[str]) -> list[Stored]:
        return [self.keys[owner] for owner in owners if owner in self.keys]

    async def sources(self) -> list[Row]:
        return []

    def copy(self) -> MemoryLog:
        """Another one that shares entries which nobody changes in place."""
        other = copy.copy(self)
        other.entries = dict(self.entries)
        return other


def _as_stored(document: Stored) -> Stored:
    return dict(bson.decode(bson.encode(document)))


class MemoryCheckpoints:
    """The collection of checkpoints, and the places beside it."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows_by_id: dict[Any, Row] = {row["_id"]: row for row in rows}
        self.places: dict[str, Row] = {}

    async def newest(self, tx: object = None) -> Row | None:
        return self.rows_by_id[max(self.rows_by_id)] if self.rows_by_id else None

    async def newest_number(self) -> int:
        return int(max(self.rows_by_id, default=0))

    async def row(self, number: int) -> Row | None:
        return self.rows_by_id.get(number)

    async def rows(self, first: int, last: int) -> list[Row]:
        return [self.rows_by_id[number] for number in sorted(self.rows_by_id) if first <= number < last + 1]

    async def strays(self) -> list[Any]:
        newest = max(self.rows_by_id, default=0)
        return [number for number in self.rows_by_id if number < 1 or (number == newest and type(number) is float)]

    async def place(self, name: str) -> Row | None:
        return self.places.get(name)

    async def save_place(self, name: str, place: Row, tx: object = None) -> None:
        self.places[name] = {"_id": name, **place}

    def copy(self) -> MemoryCheckpoints:
        return MemoryCheckpoints(self.rows_by_id.values())


class MemoryBucket:
    """An object store that forgets nothing, and is away on demand."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.retained: dict[str, datetime | None] = {}
        self.away = False
        self.answers_left: int | None = None

    def _answer(self) -> None:
        if self.answers_left is not None:
            self.answers_left -= 1
            self.away = self.away or self.answers_left < 0
        if self.away:
            raise Unavailable("the object store is away")

    async def put_once(self, key: str, body: bytes, *, retain_until: datetime | None = None) -> bool:
        self._answer()
        if key in self.objects:
            return False
        self.objects[key], self.retained[key] = body, retain_until
        return True

    async def get(self, key: str) -> bytes | None:
        self._answer()
        return self.objects.get(key)

    async def keys(self, prefix: str, after: str = "") -> list[str]:
        self._answer()
        return [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]


def witness_in(bucket: MemoryBucket) -> Witness:
    return Witness(bucket, timedelta(days=RETENTION_DAYS), ManualClock())


def bucket_of(rows: Iterable[Row]) -> MemoryBucket:
    return MemoryBucket({key_of(row["_id"]): copy_of(row) for row in rows})


async def verify(
    log: Log,
    vault: Vault,
    stored: Source | None = None,
    bucket: MemoryBucket | None = None,
    scope: Scope | None = None,
    anchor: Anchor | None = None,
) -> Verdict:
    """The verdict; without a bucket, the finding that there is none is left out."""
    witness = None if bucket is None else witness_in(bucket)
    verification = Verification(log, Checkpoints(keys(), stored or MemoryCheckpoints(), witness), vault)
    verdict = await verification.run(scope, anchor)
    return _without(verdict, NO_WITNESS) if bucket is None else verdict


def _without(verdict: Verdict, finding: str) -> Verdict:
    return replace(verdict, findings=tuple(item for item in verdict.findings if item != finding))
