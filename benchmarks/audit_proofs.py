"""Proofs over the audit log at 10³ to 10⁶ entries: their size, and the time to make and to verify one.

The peer keeps every node of the tree by itself, as a map from level and index to a hash, and reads a proof's nodes by
one query as well. Entries are bare: number, `hash` and `prevHash`, which is all that the tree reads of them.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from statistics import median

from benchmarks.report import Bound, Figure, Growth
from benchmarks.servers import mongod
from benchmarks.setting import Setting
from services.audit import bundle
from services.audit.proofs.merkle import inclusion_spans, leaf_hash, node_hash, proof, proof_nodes, verify_inclusion
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.tree import Tree
from shared.mongo import Mongo

SIZES = (1_000, 10_000, 100_000, 1_000_000)
# Every node by itself is 2·n documents; beyond this the peer takes longer to fill than all the rest.
PEER_UP_TO = 100_000
MOST_MS = 10.0
_BATCH = 10_000
_SAMPLES = 200


async def measure(setting: Setting) -> Figure:
    """Return size and time of proofs for each size of the log."""
    figure = Figure("proofs", "Audit: proofs for outsiders")
    growth = Growth(
        "Inclusion and consistency proofs; milliseconds are medians, one after the other",
        ("entries", "grown/s", "hashes", "bytes", "inclusion ms", "p99", "peer ms", "consistency ms", "verify ms"),
    )
    figure.growths.append(growth)
    slowest = 0.0
    async with mongod(setting.folder) as uri:
        for size in SIZES[: setting.sized(4, 3)]:
            row, p99 = await _measured(uri, size)
            growth.rows.append(row)
            slowest = max(slowest, p99)
    figure.bounds.append(Bound("p99 of an inclusion proof at the largest size", slowest, "ms", MOST_MS))
    figure.notes.append("`verify ms` is that of bundle.py, the standard library alone, without the signature.")
    began = time.perf_counter()
    for _ in range(20):
        bundle.ed25519_verifies(
            bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), b"", _SIGNED
        )
    figure.notes.append(f"A signature takes bundle.py {(time.perf_counter() - began) * 50:.1f} ms.")
    return figure


# RFC 8032 section 7.1, test 1.
_SIGNED = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def _hash(seq: int) -> bytes:
    return hashlib.sha256(seq.to_bytes(8, "big")).digest() if seq else bytes(32)


async def _measured(uri: str, size: int) -> tuple[tuple[str | float | None, ...], float]:
    mongo = Mongo(uri, f"proofs-{size}", "benchmarks")
    await _fill(mongo, size)
    tree = Tree(ProofRepository(mongo.db))
    began = time.perf_counter()
    root = await tree.grow(size)
    grown = size / (time.perf_counter() - began)
    chosen = random.Random(size).choices(range(1, size), k=_SAMPLES)  # the same ones in every run
    proofs = [await tree.inclusion(index, size) for index in chosen]
    for index, path in zip(chosen, proofs, strict=True):
        if not verify_inclusion(index, size, leaf_hash(_hash(index + 1)), path, root):
            raise AssertionError(f"the proof of {index} does not verify")
    ours = await _times(chosen, lambda index: tree.inclusion(index, size))
    peer = median(await _peer(mongo, size, chosen, proofs)) if size <= PEER_UP_TO else None
    steps = await _times(chosen, lambda index: tree.consistency(index, size))
    began = time.perf_counter()
    for index, path in zip(chosen, proofs, strict=True):
        bundle.includes(index, size, leaf_hash(_hash(index + 1)), path, root)
    verified = (time.perf_counter() - began) / len(chosen) * 1000
    await mongo.close()
    longest = max(map(len, proofs))
    p99 = ours[int(len(ours) * 0.99)]
    row = (size, round(grown), longest, longest * 32, median(ours), p99, peer, median(steps), verified)
    return row, p99


async def _fill(mongo: Mongo, size: int) -> None:
    for start in range(1, size + 1, _BATCH):
        rows = [
            {"_id": seq, "hash": _hash(seq).hex(), "prevHash": _hash(seq - 1).hex()}
            for seq in range(start, min(start + _BATCH, size + 1))
        ]
        await mongo.db["entries"].insert_many(rows)


async def _times(chosen: list[int], prove: Callable[[int], Awaitable[object]]) -> list[float]:
    """Milliseconds of each, ascending."""
    taken = []
    for index in chosen:
        began = time.perf_counter()
        await prove(index)
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)


async def _peer(mongo: Mongo, size: int, chosen: list[int], expected: list[list[bytes]]) -> list[float]:
    nodes = mongo.db["nodes"]
    level, below = 0, [leaf_hash(_hash(seq)) for seq in range(1, size + 1)]
    while below:
        rows = [{"_id": f"{level}/{index}", "hash": content} for index, content in enumerate(below)]
        for start in range(0, len(rows), _BATCH):
            await nodes.insert_many(rows[start : start + _BATCH])
        below = [node_hash(below[place], below[place + 1]) for place in range(0, len(below) - 1, 2)]
        level += 1

    async def prove(index: int) -> list[bytes]:
        spans = inclusion_spans(index, size)
        names = {f"{level}/{place}": (level, place) for level, place in proof_nodes(spans)}
        rows = await nodes.find({"_id": {"$in": list(names)}}).to_list()
        found = {names[row["_id"]]: bytes(row["hash"]) for row in rows}
        return proof(spans, found.__getitem__)

    if [await prove(index) for index in chosen] != expected:
        raise AssertionError("the peer's proofs are others")
    return await _times(chosen, prove)
