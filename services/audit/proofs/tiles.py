"""Tiles: 256 hashes of one level each, in the shape of C2SP tlog-tiles (c2sp.org/tlog-tiles).

Tile `number` of tile level `k` holds the nodes 256·number to 256·number + 255 of tree level 8·k. Levels between are
computed from one tile. A full tile never changes; the last one of each level is replaced by wider ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.audit.canonical import GENESIS
from services.audit.proofs.merkle import HASH_SIZE, Node, fold, leaf_hash, node_hash, perfect_root
from services.audit.proofs.models import EntriesMissing, Link, TileId, TreeDamaged, tile_name

WIDTH = 256
_BITS = 8


def tile_of(node: Node) -> tuple[TileId, int, int]:
    """The tile that a node is computed from, its first hash there, and how many."""
    level, index = node
    within = level % _BITS
    first = index << within
    return (level // _BITS, first >> _BITS), first % WIDTH, 1 << within


def open_tiles(size: int) -> list[tuple[TileId, int]]:
    """The tiles at the right edge of a tree that are not full, with their widths; its root depends on no others."""
    found: list[tuple[TileId, int]] = []
    level, nodes = 0, size
    while nodes:
        if width := nodes % WIDTH:
            found.append(((level, nodes // WIDTH), width))
        level, nodes = level + 1, nodes // WIDTH
    return found


def split(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)]


class Nodes:
    """Nodes of the tree, computed from tiles that were read; each once."""

    def __init__(self, tiles: Mapping[TileId, bytes]) -> None:
        self.tiles = {tile: split(hashes) for tile, hashes in tiles.items()}
        self._known: dict[Node, bytes] = {}

    def __call__(self, node: Node) -> bytes:
        """Raises TreeDamaged if the tile is missing or too short."""
        known = self._known.get(node)
        if known is None:
            known = self._known[node] = self._computed(node)
        return known

    def _computed(self, node: Node) -> bytes:
        level, index = node
        if level % _BITS:
            return node_hash(self((level - 1, 2 * index)), self((level - 1, 2 * index + 1)))
        tile, place, _ = tile_of(node)
        hashes = self.tiles.get(tile, [])
        if place >= len(hashes):
            raise TreeDamaged(f"tile {tile_name(tile)} is missing or too short; {REMEDY}")
        return hashes[place]


REMEDY = "POST /api/audit/proof/rebuild makes the tiles anew from the entries"


@dataclass(slots=True)
class Edge:
    """The right edge of a growing tree: its open tiles, and the full ones that were finished since it was asked.

    Attributes:
        last: the leaf of the newest entry in the tree; None while it is empty.
    """

    size: int = 0
    last: bytes | None = None
    open: list[list[bytes]] = field(default_factory=list)
    finished: dict[TileId, bytes] = field(default_factory=dict)

    def extend(self, links: Iterable[Link]) -> None:
        """Append entries. Raises EntriesMissing at a hole, TreeDamaged where an entry does not continue the last."""
        for link in links:
            if link.seq != self.size + 1:
                raise EntriesMissing(f"entry {self.size + 1} is not in the database")
            continues = link.previous == GENESIS if self.last is None else _leaf(link.previous) == self.last
            if not continues:
                raise TreeDamaged(f"entry {link.seq} does not continue what the tree ends with; verify the log")
            self.last = _leaf(link.hash)
            self._add(self.last)

    def _add(self, leaf: bytes) -> None:
        self.size += 1
        carried, level = leaf, 0
        while True:
            if level == len(self.open):
                self.open.append([])
            tile = self.open[level]
            tile.append(carried)
            if len(tile) < WIDTH:
                return
            self.finished[level, (self.size >> (_BITS * (level + 1))) - 1] = b"".join(tile)
            carried = perfect_root(tile)
            tile.clear()
            level += 1

    def take_finished(self) -> dict[TileId, bytes]:
        """The full tiles that there are to store; they are forgotten here."""
        taken, self.finished = self.finished, {}
        return taken

    def partial(self) -> dict[TileId, bytes]:
        """The open tiles as they are now."""
        return {
            (level, self.size >> (_BITS * (level + 1))): b"".join(tile) for level, tile in enumerate(self.open) if tile
        }

    def root(self) -> bytes:
        hashes: list[bytes] = []
        for tile in reversed(self.open):
            hashes += _peaks_of(tile)
        return fold(hashes)


def _peaks_of(tile: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    start = 0
    while start < len(tile):
        width = 1 << ((len(tile) - start).bit_length() - 1)
        found.append(perfect_root(tile[start : start + width]))
        start += width
    return found


def _leaf(entry_hash: str) -> bytes:
    try:
        content = bytes.fromhex(entry_hash)
    except ValueError:
        content = b""
    if len(content) != HASH_SIZE:
        raise TreeDamaged("the hash of an entry is not one; verify the log")
    return leaf_hash(content)
