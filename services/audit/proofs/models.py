"""What proofs speak of: checkpoints as they are stored, tiles, and the ways in which a proof cannot be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.proofs.merkle import EMPTY_ROOT
from shared.errors import Conflict

TileId = tuple[int, int]
"""Level and number of a tile: it holds the nodes 256·number … of level 8·level."""

SIGNED = ("at", "headHash", "headSeq", "number", "prevCheckpointHash", "reason", "rootHash")
"""The members of a checkpoint that are signed, in RFC 8785 form."""


class CheckpointMissing(Conflict):
    code, title = "checkpoint_missing", "There is no checkpoint to prove anything against"

    def __init__(self) -> None:
        super().__init__("make one with POST /api/audit/checkpoint, and ask again")


class EntriesMissing(Conflict):
    """The tree cannot grow, or cannot be built anew: entries that it needs are not in the database."""

    code, title = "entries_missing", "Entries that the tree needs are missing"


class TreeDamaged(Conflict):
    """Tiles do not lead to the root that they must lead to; the detail names the tile, where it can be told."""

    code, title = "tree_damaged", "The tree of proofs was altered"


@dataclass(frozen=True, slots=True)
class State:
    """How far the tiles reach, and the root there."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Link:
    """What the tree needs of an entry."""

    seq: int
    hash: str
    previous: str


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A row of `checkpoints`."""

    row: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.row["_id"])

    @property
    def size(self) -> int:
        """How many entries it covers."""
        return int(self.row["headSeq"])

    @property
    def root(self) -> bytes:
        return bytes.fromhex(self.row["rootHash"])

    @property
    def note(self) -> str:
        return str(self.row["note"])

    def signed(self) -> dict[str, Any]:
        """The members that the signatures are over."""
        return {name: self.number if name == "number" else self.row[name] for name in SIGNED}


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That entry `seq` is in the tree of `size` under `root`."""

    seq: int
    size: int
    root: bytes
    leaf: bytes
    proof: list[bytes]
    checkpoint: StoredCheckpoint


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `second` begins with that of `first`."""

    first: int
    second: int
    first_root: bytes
    second_root: bytes
    proof: list[bytes]
    checkpoint: StoredCheckpoint


def tile_name(tile: TileId) -> str:
    """How a tile is called in the database and in messages: `level/number`."""
    return f"{tile[0]}/{tile[1]}"
