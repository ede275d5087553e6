"""Which tile was altered, when a proof does not lead to the root that was signed.

A tile is held against what lies below it: a tile of leaves against the entries, another one against the tiles that its
hashes are the roots of. Where two disagree and the lower one agrees with the entries, the upper one was altered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from typing import Protocol

from services.audit.proofs.merkle import HASH_SIZE, leaf_hash, perfect_root
from services.audit.proofs.models import Link, TileId, TreeDamaged, tile_name
from services.audit.proofs.tiles import REMEDY, WIDTH, split


class Evidence(Protocol):
    """What tiles are compared with."""

    async def tiles(self, tiles: Collection[TileId]) -> dict[TileId, bytes]: ...

    def links(self, after: int, up_to: int) -> AsyncIterator[list[Link]]: ...


async def explain(store: Evidence, suspects: Iterable[TileId]) -> TreeDamaged:
    """The error that names the first altered tile among `suspects`, leaves first; or says that none can be named."""
    for tile in sorted(suspects):
        hashes = split((await store.tiles([tile])).get(tile, b""))
        named = await (_leaves(store, tile, hashes) if tile[0] == 0 else _roots(store, tile, hashes))
        if named:
            return TreeDamaged(f"{named}; {REMEDY}")
    return TreeDamaged(f"the tiles agree with each other and not with the signed root; {REMEDY}")


async def _leaves(store: Evidence, tile: TileId, hashes: list[bytes]) -> str | None:
    state = await _against_entries(store, tile[1], hashes)
    return f"tile {tile_name(tile)} is not what the entries say" if state is False else None


async def _roots(store: Evidence, tile: TileId, hashes: list[bytes]) -> str | None:
    level, number = tile
    below = [(level - 1, number * WIDTH + place) for place in range(len(hashes))]
    children = await store.tiles(below)
    for child, claimed in zip(below, hashes, strict=True):
        content = split(children.get(child, b""))
        if len(content) == WIDTH and perfect_root(content) == claimed:
            continue
        if level == 1 and await _against_entries(store, child[1], content) is True:
            return f"tile {tile_name(tile)} is not what tile {tile_name(child)} and the entries say"
        if level == 1 and await _against_entries(store, child[1], content) is False:
            return f"tile {tile_name(child)} is not what the entries say"
        return f"tile {tile_name(tile)} or tile {tile_name(child)} was altered"
    return None


async def _against_entries(store: Evidence, number: int, hashes: list[bytes]) -> bool | None:
    """Whether a tile of leaves is what the entries say; None where they are not in the database."""
    start = number * WIDTH
    found: list[Link] = []
    async for links in store.links(start, start + (len(hashes) or WIDTH)):
        found += links
    if [link.seq for link in found] != list(range(start + 1, start + 1 + (len(hashes) or WIDTH))):
        return None
    return [_leaf(link.hash) for link in found] == hashes


def _leaf(entry_hash: str) -> bytes:
    try:
        return leaf_hash(bytes.fromhex(entry_hash))
    except ValueError:
        return bytes(HASH_SIZE)
