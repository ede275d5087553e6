"""A log with checkpoints: entries chained by the service's writer, checkpoints signed here with keys of tests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.chain import Appended
from services.audit.personal import Vault
from services.audit.proofs.export import Exporter, Opener, Selection
from services.audit.proofs.note import Signer, signed_note
from services.audit.proofs.repository import INDEXES, ProofRepository
from services.audit.proofs.service import ProofService
from services.audit.proofs.tree import Tree
from services.audit.repository import AuditRepository
from shared.mongo import Database, Mongo
from shared.testing import ManualClock
from tests.audit.events import encode, refused, suspended, tenant_event

ORIGIN = "audit.dezky.example"
SEED = hashlib.sha256(b"checkpoint key of tests").digest()
OTHER_SEED = hashlib.sha256(b"a later checkpoint key of tests").digest()
GENESIS = "0" * 64

Append = Callable[[Sequence[bytes]], Awaitable[Appended]]


def rfc6962_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    n = len(leaves)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return hashlib.sha256(b"\x01" + rfc6962_root(leaves[:k]) + rfc6962_root(leaves[k:])).digest()


def checkpoint_row(number: int, head: tuple[int, str], root: bytes, before: str, seed: bytes = SEED) -> dict[str, Any]:
    """A checkpoint as the collection holds it."""
    signed = {
        "at": "2026-11-22T13:00:00.000Z",
        "headSeq": head[0],
        "headHash": head[1],
        "number": number,
        "prevCheckpointHash": before,
        "reason": "hourly",
        "rootHash": root.hex(),
    }
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(rfc8785.dumps(signed))
    row: dict[str, Any] = {name: value for name, value in signed.items() if name != "number"}
    return row | {
        "_id": number,
        "signatures": [
            {"sigAlg": "HMAC-SHA256", "keyId": "hmac-1", "signature": base64.b64encode(bytes(32)).decode()},
            {"sigAlg": "Ed25519", "keyId": "ed-1", "signature": base64.b64encode(signature).decode()},
        ],
        "note": signed_note(ORIGIN, head[0], root, [Signer(ORIGIN, seed)]),
    }


def digest_of(row: dict[str, Any]) -> str:
    """What the next checkpoint calls `prevCheckpointHash`."""
    signed = {name: row[name] for name in row if name not in {"_id", "signatures", "note"}} | {"number": row["_id"]}
    return hashlib.sha256(rfc8785.dumps(signed)).hexdigest()


def events(first: int, last: int) -> list[bytes]:
    """Events of several kinds, numbered: changes of two tenants, suspensions, refusals."""
    made = []
    for number in range(first, last + 1):
        if number % 5 == 0:
            made.append(suspended(number))
        elif number % 7 == 0:
            made.append(refused(number))
        else:
            made.append(tenant_event(number, slug="acme" if number % 2 else "globex"))
    return encode(*made)


@dataclass
class Witnessed:
    """The log under test."""

    append: Append
    store: ProofRepository
    tree: Tree
    root_db: Database
    before: str = GENESIS
    number: int = 0
    last: int = 0

    async def grow_log(self, count: int) -> None:
        for start in range(self.last + 1, self.last + count + 1, 500):
            await self.append(events(start, min(start + 499, self.last + count)))
        self.last += count

    async def checkpoint(self, seed: bytes = SEED) -> dict[str, Any]:
        """Sign what there is, with a root that is computed here from the entries."""
        rows = await self.root_db["entries"].find({}, {"hash": 1}).sort("_id", 1).to_list()
        root = rfc6962_root([bytes.fromhex(row["hash"]) for row in rows])
        assert await self.tree.grow(len(rows)) == root
        self.number += 1
        row = checkpoint_row(self.number, (len(rows), rows[-1]["hash"]), root, self.before, seed)
        await self.root_db["checkpoints"].insert_one(row)
        self.before = digest_of(row)
        return row


@pytest.fixture
async def store(audit_mongo: Mongo) -> ProofRepository:
    await audit_mongo.ensure_indexes(INDEXES)
    return ProofRepository(audit_mongo.db)


@pytest.fixture
def tree(store: ProofRepository) -> Tree:
    return Tree(store)


@pytest.fixture
def log(chain: Append, store: ProofRepository, tree: Tree, root_db: Database) -> Witnessed:
    return Witnessed(chain, store, tree, root_db)


@pytest.fixture
def proofs(store: ProofRepository, tree: Tree) -> ProofService:
    return ProofService(store, tree)


@pytest.fixture
def exporter(repository: AuditRepository, store: ProofRepository, tree: Tree, vault: Vault) -> Exporter:
    keys = [Signer(ORIGIN, SEED).verifier, Signer(ORIGIN, OTHER_SEED).verifier]
    return Exporter(repository, store, tree, Opener(repository, vault), keys, ManualClock())


async def exported(exporter: Exporter, selection: Selection) -> bytes:
    """A whole bundle."""
    return b"".join([part async for part in exporter.lines(await exporter.plan(selection))])
