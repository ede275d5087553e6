"""Bundles: a part of the log with all that an outsider needs to verify it offline (docs/audit-bundle-format.md).

The selection is walked twice: once to count it and to refuse what is too large while a refusal is still possible, once
to write it. Entries never change, so both walks see the same, also what is archived between the two. One page is in
memory at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from services.audit.canonical import FIELDS, canonical_json
from services.audit.models import Query, Stored
from services.audit.personal import BoxUnreadableError, Values, Vault, open_box
from services.audit.proofs.merkle import Span, inclusion_spans, proof, root_from_inclusion
from services.audit.proofs.models import CheckpointMissing, EntriesMissing, StoredCheckpoint
from services.audit.proofs.note import Checkpoint, Note, VerifierKey
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.tiles import Nodes
from services.audit.proofs.tree import Tree
from shared.clock import Clock, rfc3339
from shared.errors import Invalid

FORMAT = "dezky-audit-bundle/v1"
# What one bundle may hold: some 20 MB, made in seconds. Whoever needs more asks for ranges of `seq`.
MOST_ENTRIES = 10_000
MOST_CHECKPOINTS = 500
_PAGE = 500
FORMAT_NOTE = (
    "JSON Lines, each in RFC 8785 form. Verify with bundle.py (one file, Python 3.11, standard library). "
    "Format: docs/audit-bundle-format.md."
)


class Pages(Protocol):
    """The list of the log (`AuditRepository`, or both of its tiers)."""

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]: ...


class KeyRows(Protocol):
    """Where data keys are (`AuditRepository`)."""

    async def keys_for(self, owners: Iterable[str], digests: Iterable[str]) -> list[dict[str, Any]]: ...


class Opener:
    """Opens the boxes of entries, as far as their keys exist."""

    def __init__(self, rows: KeyRows, vault: Vault) -> None:
        self._rows = rows
        self._vault = vault

    async def keys(self, entries: Sequence[Stored]) -> dict[str, bytes]:
        """The data keys that these entries need and that still exist, by owner."""
        owners = {item["owner"] for entry in entries for item in entry["sealed"]}
        rows = await self._rows.keys_for(owners, ()) if owners else []
        keys: dict[str, bytes] = {}
        for row in rows:
            if row.get("wrapped"):
                # A key that was altered reveals nothing; verification names it.
                with suppress(BoxUnreadableError):
                    keys[row["_id"]] = self._vault.unwrap(row["_id"], bytes(row["wrapped"]))
        return keys


def opened(entry: Stored, keys: Mapping[str, bytes]) -> Values:
    """Pointer → (salt, value) of what can still be opened; a box that was altered is left out."""
    values: Values = {}
    for item in entry["sealed"]:
        key = keys.get(item["owner"])
        if key is None:
            continue
        try:
            values |= open_box(key, item["owner"], entry["id"], bytes(item["box"]))
        except BoxUnreadableError:
            continue
    return values


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for: `query` without bounds of `seq`, and those, both included; None is the end of the log."""

    query: Query
    from_seq: int = 1
    to_seq: int | None = None
    reveal: bool = False

    @property
    def contiguous(self) -> bool:
        """Whether every entry of the range belongs to it."""
        return self.query == Query()


@dataclass(frozen=True, slots=True)
class Plan:
    """A bundle that can be written: its selection is counted and everything beside the entries is at hand."""

    selection: Selection
    to_seq: int
    count: int
    checkpoints: list[StoredCheckpoint]

    @property
    def newest(self) -> StoredCheckpoint:
        return self.checkpoints[-1]


class Exporter:
    """Plans bundles, and writes them as a stream."""

    def __init__(
        self,
        pages: Pages,
        repository: ProofRepository,
        tree: Tree,
        opener: Opener,
        keys: Sequence[VerifierKey],
        clock: Clock,
    ) -> None:
        self._pages = pages
        self._repository = repository
        self._tree = tree
        self._opener = opener
        self._keys = keys
        self._clock = clock

    async def plan(self, selection: Selection) -> Plan:
        """Count the selection.

        Raises CheckpointMissing, Invalid (too much, or beyond the newest checkpoint), EntriesMissing, and what cold
        storage raises: StoreUnavailable, ArchiveDamaged.
        """
        newest = await self._repository.newest_checkpoint()
        if newest is None or newest.size == 0:
            raise CheckpointMissing
        to_seq = newest.size if selection.to_seq is None else selection.to_seq
        if to_seq > newest.size:
            raise Invalid.field("toSeq", "beyond_checkpoint", f"the newest checkpoint covers {newest.size} entries")
        if selection.contiguous and to_seq - selection.from_seq >= MOST_ENTRIES:
            raise _too_many()
        count, lowest = 0, to_seq
        async for entries in self._walk(selection, to_seq):
            count, lowest = count + len(entries), entries[-1]["seq"]
            if count > MOST_ENTRIES:
                raise _too_many()
        if selection.contiguous and count != max(0, to_seq - selection.from_seq + 1):
            raise EntriesMissing(f"only {count} entries of seq {selection.from_seq} to {to_seq} can be read")
        covering = await self._repository.checkpoints_covering(lowest, newest.number, MOST_CHECKPOINTS)
        return Plan(selection, to_seq, count, covering)

    async def lines(self, plan: Plan) -> AsyncGenerator[bytes]:
        """The bundle, a few lines at a time. Raises TreeDamaged: then the stream ends without its last line."""
        digest = hashlib.sha256()
        head = [self._head(plan), *({"kind": "key", "vkey": str(key)} for key in self._keys)]
        first = b"".join([*map(_line, head), *[_line(record) async for record in self._checkpoints(plan)]])
        digest.update(first)
        yield first
        async for entries in self._walk(plan.selection, plan.to_seq):
            keys = await self._opener.keys(entries) if plan.selection.reveal else {}
            spans = [span for entry in entries for span in _spans(entry["seq"], plan.newest.size)]
            nodes = await self._tree.read(spans)
            written = await asyncio.to_thread(_entries, entries, keys, nodes, plan)
            if written is None:
                raise await self._tree.blame(spans)
            digest.update(written)
            yield written
        counts = {"entries": plan.count, "checkpoints": len(plan.checkpoints)}
        yield _line({"kind": "end", **counts, "sha256": digest.hexdigest()})

    def _head(self, plan: Plan) -> dict[str, Any]:
        query = {name: value for name, value in dataclasses.asdict(plan.selection.query).items() if value is not None}
        return {
            "kind": "bundle",
            "format": FORMAT,
            "note": FORMAT_NOTE,
            "made": rfc3339(self._clock.now()),
            "origin": Checkpoint.parse(Note.parse(plan.newest.note).text).origin,
            "query": query,
            "contiguous": plan.selection.contiguous,
            "fromSeq": plan.selection.from_seq,
            "toSeq": plan.to_seq,
            "entries": plan.count,
            "checkpoints": len(plan.checkpoints),
            "size": plan.newest.size,
            "root": plan.newest.root.hex(),
        }

    async def _checkpoints(self, plan: Plan) -> AsyncIterator[dict[str, Any]]:
        before: StoredCheckpoint | None = None
        for checkpoint in plan.checkpoints:
            path = [] if before is None else await self._tree.consistency(before.size, checkpoint.size)
            yield {
                "kind": "checkpoint",
                "row": checkpoint.signed(),
                "signatures": checkpoint.row["signatures"],
                "note": checkpoint.note,
                "consistency": [step.hex() for step in path],
            }
            before = checkpoint

    async def _walk(self, selection: Selection, to_seq: int) -> AsyncIterator[list[Stored]]:
        """The entries of a selection, newest first, a page at a time; no page is empty."""
        query = dataclasses.replace(selection.query, above=selection.from_seq - 1)
        before: int | None = to_seq + 1
        while before is not None and before > selection.from_seq:
            entries, before = await self._pages.page(query, before, _PAGE)
            if entries:
                yield entries


def _spans(seq: int, size: int) -> list[Span]:
    return [*inclusion_spans(seq - 1, size), (seq - 1, seq)]


def _entries(entries: Sequence[Stored], keys: Mapping[str, bytes], nodes: Nodes, plan: Plan) -> bytes | None:
    """The lines of a page; None if the tiles do not lead to the root that was signed."""
    lines: list[bytes] = []
    size = plan.newest.size
    for entry in entries:
        index = entry["seq"] - 1
        path = proof(inclusion_spans(index, size), nodes)
        # The leaf of the tile: an entry that was altered is written as it is, and the outsider's verifier names it.
        if root_from_inclusion(index, size, nodes((0, index)), path) != plan.newest.root:
            return None
        content = {name: entry[name] for name in (*FIELDS, "hash")}
        record: dict[str, Any] = {"kind": "entry", "entry": content, "proof": [step.hex() for step in path]}
        if plan.selection.reveal:
            values = opened(entry, keys).items()
            record["revealed"] = {at: {"salt": salt.hex(), "value": value} for at, (salt, value) in values}
        lines.append(_line(record))
    return b"".join(lines)


def _line(record: Mapping[str, Any]) -> bytes:
    return canonical_json(dict(record)) + b"\n"


def _too_many() -> Invalid:
    return Invalid.field(
        "toSeq", "too_many_entries", f"a bundle holds at most {MOST_ENTRIES} entries: ask for a narrower range of seq"
    )
