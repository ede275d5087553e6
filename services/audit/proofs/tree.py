"""The tree over the entries' hashes, durable in tiles: a proof reads a few tiles, however long the log and wherever
its entries are. Nothing here is believed for being stored: what a proof leads to is compared with a signed root.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Protocol

from services.audit.proofs.damage import explain
from services.audit.proofs.merkle import (
    HASH_SIZE,
    Span,
    consistency_spans,
    fold,
    inclusion_spans,
    peaks,
    proof,
    proof_nodes,
    verify_consistency,
)
from services.audit.proofs.models import EntriesMissing, Link, State, TileId, TreeDamaged, tile_name
from services.audit.proofs.tiles import REMEDY, WIDTH, Edge, Nodes, open_tiles, split, tile_of

# Partial tiles are written this often while a long log is taken up, so that a crash costs no more than this.
SETTLE_EVERY = 65_536
_ATTEMPTS = 5


class Store(Protocol):
    """Where tiles and links are: the repository, or a fake of it."""

    async def state(self) -> State: ...

    async def advance(self, state: State) -> None: ...

    async def tiles(self, tiles: Collection[TileId]) -> dict[TileId, bytes]: ...

    async def keep(self, tiles: Mapping[TileId, bytes]) -> bool: ...

    async def replace(self, tiles: Mapping[TileId, bytes]) -> None: ...

    async def reset(self, state: State) -> None: ...

    def links(self, after: int, up_to: int) -> AsyncIterator[list[Link]]: ...

    async def oldest(self) -> int | None: ...


class Tree:
    """RFC 6962 over the entries' hashes: leaf n - 1 is that of entry n."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def grow(self, size: int) -> bytes:
        """Make nodes up to `size` leaves durable and return the root. Reads only the entries that are new.

        Safe to repeat, to interrupt and to run twice at once. Memory is constant.

        Raises:
            EntriesMissing: not all entries up to `size` are in the database.
            TreeDamaged: what is stored does not lead to its own root, or an entry does not continue it.
        """
        state = await self._store.state()
        if size <= state.size:
            return await self.root(size)
        edge = await self._edge(state)
        settled = edge.size
        async for links in self._store.links(edge.size, size):
            await asyncio.to_thread(edge.extend, links)
            await self._keep(edge.take_finished())
            if edge.size - settled >= SETTLE_EVERY:
                await self._settle(edge)
                settled = edge.size
        if edge.size != size:
            raise EntriesMissing(f"entry {edge.size + 1} is not in the database")
        await self._settle(edge)
        return edge.root()

    async def consistent(self, size: int, root: bytes, new_size: int, new_root: bytes) -> bool:
        """Whether the tree of `new_size` under `new_root` begins with that of `size` under `root`.

        False also where tiles were altered so that no proof can be made. Raises TreeDamaged where tiles are missing.
        """
        if size > new_size:
            return False
        if size == 0:
            return root == fold([])
        path = await self.consistency(size, new_size)
        return verify_consistency(size, new_size, (root, new_root), path)

    async def root(self, size: int) -> bytes:
        """The root of the first `size` leaves. Raises TreeDamaged where tiles are missing."""
        nodes = await self.read([(0, size)])
        return fold([nodes(peak) for peak in peaks((0, size))])

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof of leaf `index` in the tree of `size`. Raises as `root`, and ValueError outside."""
        spans = inclusion_spans(index, size)
        return proof(spans, await self.read(spans))

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """The consistency proof between two sizes, 1 at least. Raises as `inclusion`."""
        spans = consistency_spans(first, second)
        return proof(spans, await self.read(spans))

    async def read(self, spans: Iterable[Span]) -> Nodes:
        """All nodes that these spans consist of, by one query."""
        wanted = {tile_of(node)[0] for node in proof_nodes(spans)}
        return Nodes(await self._store.tiles(wanted) if wanted else {})

    async def blame(self, spans: Iterable[Span]) -> TreeDamaged:
        """The error that names the altered tile among those that a proof was made of."""
        nodes = await self.read(spans)
        return await explain(self._store, nodes.tiles)

    async def rebuild(self, size: int, root: bytes) -> int:
        """Make the tiles anew from the entries in the database, up to a signed root. Returns the leaves made anew.

        Where the oldest entries are archived, their tiles are kept, and are right if the root is. Nothing is written
        before the entries have led to `root`. Raises TreeDamaged if they do not, EntriesMissing at a hole.
        """
        oldest = await self._store.oldest()
        if oldest is None or oldest > size:
            raise EntriesMissing(f"no entry up to {size} is in the database")
        for write in (False, True):
            edge = await self._edge_at(oldest - 1)
            if await self._run(edge, size, write=write) != root:
                raise TreeDamaged("neither the tiles nor the entries lead to the signed root; verify the log")
        await self._store.replace(edge.partial())
        await self._store.reset(State(size, root))
        return size - oldest + 1

    async def _run(self, edge: Edge, size: int, *, write: bool) -> bytes:
        async for links in self._store.links(edge.size, size):
            await asyncio.to_thread(edge.extend, links)
            finished = edge.take_finished()
            if write:
                await self._store.replace(finished)
        if edge.size != size:
            raise EntriesMissing(f"entry {edge.size + 1} is not in the database")
        return edge.root()

    async def _edge(self, state: State) -> Edge:
        edge = await self._edge_at(state.size)
        if edge.root() != state.root:
            damage = await explain(self._store, {tile: [] for tile, _ in open_tiles(state.size)})
            raise TreeDamaged(f"the tree does not lead to its own root at {state.size}: {damage.detail}")
        return edge

    async def _edge_at(self, size: int) -> Edge:
        """The right edge of the first `size` leaves, as the tiles say it."""
        if size == 0:
            return Edge()
        wanted = dict(open_tiles(size))
        holds_last = (0, (size - 1) // WIDTH)
        found = await self._store.tiles({*wanted, holds_last})
        edge = Edge(size)
        for (level, number), width in {holds_last: (size - 1) % WIDTH + 1, **wanted}.items():
            hashes = found.get((level, number), b"")[: width * HASH_SIZE]
            if len(hashes) < width * HASH_SIZE:
                raise TreeDamaged(f"tile {tile_name((level, number))} is missing or too short; {REMEDY}")
            if (level, number) == holds_last:
                edge.last = hashes[-HASH_SIZE:]
            if (level, number) in wanted:
                edge.open += [[] for _ in range(level + 1 - len(edge.open))]
                edge.open[level] = split(hashes)
        return edge

    async def _settle(self, edge: Edge) -> None:
        await self._keep(edge.partial())
        await self._store.advance(State(edge.size, edge.root()))

    async def _keep(self, tiles: Mapping[TileId, bytes]) -> None:
        """Store tiles; what somebody else has stored meanwhile must begin with the same hashes."""
        for _ in range(_ATTEMPTS):
            if not tiles or await self._store.keep(tiles):
                return
            there = await self._store.tiles(tiles)
            tiles = {tile: hashes for tile, hashes in tiles.items() if not _covers(tile, there.get(tile, b""), hashes)}
        raise TreeDamaged(f"tile {tile_name(next(iter(tiles)))} cannot be stored")


def _covers(tile: TileId, there: bytes, hashes: bytes) -> bool:
    """Whether a stored tile holds these hashes already. Raises TreeDamaged if it holds others."""
    shorter = min(len(there), len(hashes))
    if there[:shorter] != hashes[:shorter]:
        raise TreeDamaged(f"tile {tile_name(tile)} holds other hashes than the entries have; {REMEDY}")
    return len(there) >= len(hashes)
