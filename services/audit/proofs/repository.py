"""The tiles of the tree, and what proofs read of the log: hashes of entries, and checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from services.audit.proofs.merkle import HASH_SIZE
from services.audit.proofs.models import Link, State, StoredCheckpoint, TileId, tile_name
from shared.mongo import Database, Document, DuplicateKey, Index

# `checkpoints` is read by `_id` downwards, and by what a checkpoint covers.
INDEXES: Mapping[str, Sequence[Index]] = {"checkpoints": [Index([("headSeq", 1)])]}

_STATE = "tree"
_BATCH = 4_096
_DUPLICATE = 11000


class ProofRepository:
    """Collection `tree_tiles` is written here; `entries` and `checkpoints` are only read."""

    def __init__(self, db: Database) -> None:
        self._tiles = db["tree_tiles"]
        self._entries = db["entries"]
        self._checkpoints = db["checkpoints"]

    # the tree

    async def state(self) -> State:
        """How far the tiles reach; of no tree, `State()`."""
        row = await self._tiles.find_one({"_id": _STATE})
        return State() if row is None else State(int(row["size"]), bytes(row["root"]))

    async def advance(self, state: State) -> None:
        """Let the tree reach further; a state of less is left alone."""
        try:
            await self._tiles.update_one(
                {"_id": _STATE, "size": {"$lt": state.size}},
                {"$set": {"size": state.size, "root": state.root}},
                upsert=True,
            )
        except DuplicateKey:  # somebody has come as far already
            return

    async def tiles(self, tiles: Collection[TileId]) -> dict[TileId, bytes]:
        """The hashes of each of these tiles that exists, one after the other."""
        names = {tile_name(tile): tile for tile in tiles}
        rows = self._tiles.find({"_id": {"$in": list(names)}}, {"hashes": 1})
        return {names[row["_id"]]: bytes(row["hashes"]) async for row in rows}

    async def keep(self, tiles: Mapping[TileId, bytes]) -> bool:
        """Store tiles that are new, or wider than what is stored. Tells whether all were: others were left alone."""
        writes = [
            UpdateOne(
                {"_id": tile_name(tile), "width": {"$lt": len(hashes) // HASH_SIZE}},
                {"$set": {"hashes": hashes, "width": len(hashes) // HASH_SIZE}},
                upsert=True,
            )
            for tile, hashes in tiles.items()
        ]
        try:
            await self._tiles.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if any(problem["code"] != _DUPLICATE for problem in error.details["writeErrors"]):
                raise
            return False
        return True

    async def replace(self, tiles: Mapping[TileId, bytes]) -> None:
        """Store tiles whatever is there; for tiles that were proven to be right."""
        writes = [
            ReplaceOne({"_id": tile_name(tile)}, {"hashes": hashes, "width": len(hashes) // HASH_SIZE}, upsert=True)
            for tile, hashes in tiles.items()
        ]
        if writes:
            await self._tiles.bulk_write(writes, ordered=False)

    async def reset(self, state: State) -> None:
        """Say how far the tiles reach, whatever was said before."""
        await self._tiles.replace_one({"_id": _STATE}, {"size": state.size, "root": state.root}, upsert=True)

    # the log

    async def links(self, after: int, up_to: int) -> AsyncIterator[list[Link]]:
        """Number and hashes of the entries in the database between two numbers, ascending, a batch at a time."""
        rows = self._entries.find({"_id": {"$gt": after, "$lte": up_to}}, {"_id": 1, "hash": 1, "prevHash": 1})
        batch: list[Link] = []
        async for row in rows.sort("_id", 1).batch_size(_BATCH):
            batch.append(_link(row))
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    async def oldest(self) -> int | None:
        """The lowest number among the entries in the database."""
        first = await self._entries.find_one({}, {"_id": 1}, sort=[("_id", 1)])
        return None if first is None else int(first["_id"])

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        row = await self._checkpoints.find_one({}, sort=[("_id", -1)])
        return None if row is None else StoredCheckpoint(row)

    async def checkpoints_covering(self, seq: int, up_to: int, most: int) -> list[StoredCheckpoint]:
        """Ascending: the checkpoints up to a number that cover entry `seq`; the newest `most` of them."""
        rows = self._checkpoints.find({"headSeq": {"$gte": seq}, "_id": {"$lte": up_to}}).sort("_id", -1).limit(most)
        return [StoredCheckpoint(row) async for row in rows][::-1]


def _link(row: Document) -> Link:
    return Link(int(row["_id"]), str(row["hash"]), str(row["prevHash"]))
