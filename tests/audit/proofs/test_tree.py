"""The durable tree: the same roots as the RFC's definition, few reads, safe to interrupt, and tampering is named."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.proofs.merkle import verify_inclusion
from services.audit.proofs.models import CheckpointMissing, EntriesMissing, Link, State, TileId, TreeDamaged
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.service import ProofService
from services.audit.proofs.tree import Tree
from shared.errors import Invalid
from tests.audit.proofs.conftest import Witnessed, rfc6962_root


class Crash(Exception):
    """The process ended here."""


class Shelf:
    """Tiles and entries in memory, in the place of the repository; counts reads, and crashes when told to."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self.hashes = list(hashes)
        self.kept: dict[TileId, bytes] = {}
        self.at = State()
        self.read: list[int] = []
        self.queries = 0
        self.writes_left: int | None = None
        self.first = 1

    def _write(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise Crash

    async def state(self) -> State:
        return self.at

    async def advance(self, state: State) -> None:
        self._write()
        if state.size > self.at.size:
            self.at = state

    async def tiles(self, tiles: Collection[TileId]) -> dict[TileId, bytes]:
        self.queries += len(tiles)
        return {tile: self.kept[tile] for tile in tiles if tile in self.kept}

    async def keep(self, tiles: Mapping[TileId, bytes]) -> bool:
        all_new = True
        for tile, hashes in tiles.items():
            self._write()
            if len(self.kept.get(tile, b"")) < len(hashes):
                self.kept[tile] = hashes
            else:
                all_new = False
        return all_new

    async def replace(self, tiles: Mapping[TileId, bytes]) -> None:
        self.kept.update(tiles)

    async def reset(self, state: State) -> None:
        self.at = state

    async def links(self, after: int, up_to: int) -> AsyncIterator[list[Link]]:
        batch = []
        for seq in range(max(after + 1, self.first), min(up_to, len(self.hashes)) + 1):
            self.read.append(seq)
            previous = self.hashes[seq - 2] if seq > 1 else bytes(32)
            batch.append(Link(seq, self.hashes[seq - 1].hex(), previous.hex()))
        yield batch

    async def oldest(self) -> int | None:
        return self.first


HASHES = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(66_100)]


def leaf(seq: int) -> bytes:
    return hashlib.sha256(b"\x00" + HASHES[seq - 1]).digest()


@pytest.mark.unit
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1_400), min_size=1, max_size=5), st.data())
def test_growing_in_any_steps_gives_the_rfcs_roots_and_proofs(sizes: list[int], data: st.DataObject) -> None:
    async def story() -> None:
        tree, greatest = Tree(Shelf(HASHES)), max(sizes)
        for size in sizes:
            assert await tree.grow(size) == rfc6962_root(HASHES[:size])
        index = data.draw(st.integers(0, greatest - 1))
        path = await tree.inclusion(index, greatest)
        assert verify_inclusion(index, greatest, leaf(index + 1), path, rfc6962_root(HASHES[:greatest]))
        for size in sizes:
            roots = rfc6962_root(HASHES[:size]), rfc6962_root(HASHES[:greatest])
            assert await tree.consistent(size, roots[0], greatest, roots[1])
            assert not await tree.consistent(size, bytes(32), greatest, roots[1])
            assert not await tree.consistent(size, roots[0], greatest, bytes(32))
            assert await tree.consistent(greatest, roots[1], size, roots[0]) is (size == greatest)

    asyncio.run(story())


@pytest.mark.unit
async def test_of_nothing_everything_is_a_continuation() -> None:
    tree = Tree(Shelf(HASHES))
    root = await tree.grow(3)
    assert await tree.consistent(0, hashlib.sha256().digest(), 3, root)
    assert not await tree.consistent(0, bytes(32), 3, root)


@pytest.mark.unit
@pytest.mark.parametrize(("before", "after"), [(300, 900), (512, 1_025), (1, 256), (65_500, 66_100)])
async def test_a_crash_after_any_write_loses_nothing_and_growing_again_converges(before: int, after: int) -> None:
    base = Shelf(HASHES)
    roots = await Tree(base).grow(before), rfc6962_root(HASHES[:after])
    for writes in range(12):
        shelf = Shelf(HASHES)
        shelf.kept, shelf.at, shelf.writes_left = dict(base.kept), base.at, writes
        try:
            await Tree(shelf).grow(after)
        except Crash:
            assert shelf.at.size in {before, after}
        shelf.writes_left = None
        assert await Tree(shelf).grow(after) == roots[1]
        # What was proven before the crash is proven after it.
        assert await Tree(shelf).root(before) == roots[0]


@pytest.mark.unit
async def test_growing_reads_only_the_entries_that_are_new_and_nothing_twice() -> None:
    shelf = Shelf(HASHES)
    tree = Tree(shelf)
    await tree.grow(700)
    shelf.read.clear()
    root = await tree.grow(1_000)
    assert shelf.read == list(range(701, 1_001))
    shelf.read.clear()
    assert await tree.grow(1_000) == root
    assert await tree.grow(700) == rfc6962_root(HASHES[:700])
    assert shelf.read == []


@pytest.mark.unit
async def test_a_proof_reads_a_handful_of_tiles_and_no_entry() -> None:
    shelf = Shelf(HASHES)
    tree = Tree(shelf)
    await tree.grow(66_100)
    shelf.read.clear()
    for index in (0, 300, 65_535, 65_536, 66_099):
        shelf.queries = 0
        path = await tree.inclusion(index, 66_100)
        # Three levels of tiles: one on the way up and one at the right edge of each.
        assert shelf.queries <= 6
        assert len(path) <= 17
    assert shelf.read == []


@pytest.mark.unit
async def test_a_full_tile_is_never_written_again() -> None:
    shelf = Shelf(HASHES)
    await Tree(shelf).grow(600)
    first = shelf.kept[0, 0]
    shelf.kept[0, 0] = bytes(first)
    await Tree(shelf).grow(1_000)
    assert shelf.kept[0, 0] == b"".join(leaf(seq) for seq in range(1, 257))
    # Two levels, the lower one in four tiles: 1,000 leaves, and the three roots of 256 that are complete.
    assert {tile: len(hashes) // 32 for tile, hashes in shelf.kept.items()} == {
        (0, 0): 256,
        (0, 1): 256,
        (0, 2): 256,
        (0, 3): 232,
        (1, 0): 3,
    }


@pytest.mark.unit
async def test_a_hole_among_the_entries_stops_the_tree_and_is_named() -> None:
    shelf = Shelf(HASHES)
    shelf.first = 5
    with pytest.raises(EntriesMissing, match="entry 1 is not"):
        await Tree(shelf).grow(10)
    short = Shelf(HASHES[:8])
    with pytest.raises(EntriesMissing, match="entry 9 is not"):
        await Tree(short).grow(10)
    assert short.at == State()


@pytest.mark.unit
@pytest.mark.parametrize("size", [1, 256, 300])
async def test_an_entry_that_does_not_continue_the_tree_is_refused(size: int) -> None:
    shelf = Shelf(HASHES)
    await Tree(shelf).grow(size)
    shelf.hashes[size - 1] = bytes(32)
    with pytest.raises(TreeDamaged, match=f"entry {size + 1} does not continue"):
        await Tree(shelf).grow(size + 5)


@pytest.mark.unit
async def test_an_altered_edge_is_noticed_before_anything_is_built_on_it() -> None:
    shelf = Shelf(HASHES)
    await Tree(shelf).grow(300)
    kept = dict(shelf.kept)
    shelf.kept[0, 1] = bytes(32) + kept[0, 1][32:]
    with pytest.raises(TreeDamaged, match="tile 0/1 is not what the entries say"):
        await Tree(shelf).grow(400)
    assert shelf.at.size == 300
    shelf.kept = {tile: hashes for tile, hashes in kept.items() if tile != (0, 1)}
    with pytest.raises(TreeDamaged, match="tile 0/1 is missing"):
        await Tree(shelf).grow(400)


@pytest.mark.unit
async def test_a_wider_tile_of_other_hashes_is_not_taken_for_ours() -> None:
    shelf = Shelf(HASHES)
    await Tree(shelf).grow(100)
    shelf.kept[0, 0] = shelf.kept[0, 0] + bytes(32 * 100)
    with pytest.raises(TreeDamaged, match="tile 0/0 holds other hashes"):
        await Tree(shelf).grow(150)


async def _grown(log: Witnessed, count: int = 300) -> None:
    await log.grow_log(count)
    await log.checkpoint()


async def _flip(log: Witnessed, tile: str, place: int) -> None:
    row = await log.root_db["tree_tiles"].find_one({"_id": tile})
    assert row is not None
    hashes = bytearray(row["hashes"])
    hashes[place * 32] ^= 1
    await log.root_db["tree_tiles"].update_one({"_id": tile}, {"$set": {"hashes": bytes(hashes)}})


async def test_two_that_grow_the_tree_at_once_leave_one_tree(log: Witnessed, store: ProofRepository) -> None:
    await log.grow_log(520)
    rows = await log.root_db["entries"].find({}, {"hash": 1}).sort("_id", 1).to_list()
    hashes = [bytes.fromhex(row["hash"]) for row in rows]
    sizes = [3, 270, 520, 100, 519, 257]
    roots = await asyncio.gather(*(Tree(store).grow(size) for size in sizes))
    assert roots == [rfc6962_root(hashes[:size]) for size in sizes]
    assert await store.state() == State(520, rfc6962_root(hashes))
    for size in sizes:
        assert await Tree(store).root(size) == rfc6962_root(hashes[:size])


@pytest.mark.parametrize(
    ("tile", "place", "seq", "named"),
    [
        ("0/0", 6, 8, "tile 0/0 is not what the entries say"),
        ("0/1", 3, 290, "tile 0/1 is not what the entries say"),
        ("1/0", 0, 290, "tile 1/0 is not what tile 0/0 and the entries say"),
    ],
)
async def test_an_altered_tile_is_named_and_made_anew_from_the_entries(
    log: Witnessed, proofs: ProofService, tile: str, place: int, seq: int, named: str
) -> None:
    await _grown(log)
    before = await proofs.inclusion(seq, None)
    await _flip(log, tile, place)
    with pytest.raises(TreeDamaged, match=named):
        await proofs.inclusion(seq, None)
    leaves, checkpoint = await proofs.rebuild()
    assert (leaves, checkpoint.size) == (300, 300)
    assert await proofs.inclusion(seq, None) == before


async def test_a_tree_that_was_altered_throughout_does_not_pass_for_the_signed_one(
    log: Witnessed, proofs: ProofService
) -> None:
    await _grown(log)
    # Somebody who may write everything puts another entry at 5, and builds the whole tree over it.
    other = hashlib.sha256(b"another entry").hexdigest()
    await log.root_db["entries"].update_one({"_id": 5}, {"$set": {"hash": other}})
    await log.root_db["entries"].update_one({"_id": 6}, {"$set": {"prevHash": other}})
    await log.root_db["tree_tiles"].delete_many({})
    await log.tree.grow(300)
    for proven in (proofs.inclusion(5, None), proofs.inclusion(290, None), proofs.consistency(7, None)):
        with pytest.raises(TreeDamaged, match="not with the signed root"):
            await proven
    with pytest.raises(TreeDamaged, match="neither the tiles nor the entries"):
        await proofs.rebuild()


async def test_nothing_is_made_anew_from_entries_that_do_not_lead_to_the_signed_root(
    log: Witnessed, proofs: ProofService
) -> None:
    await _grown(log)
    before = await log.root_db["tree_tiles"].find().sort("_id", 1).to_list()
    other = hashlib.sha256(b"another entry").hexdigest()
    await log.root_db["entries"].update_one({"_id": 5}, {"$set": {"hash": other}})
    await log.root_db["entries"].update_one({"_id": 6}, {"$set": {"prevHash": other}})
    with pytest.raises(TreeDamaged, match="neither the tiles nor the entries"):
        await proofs.rebuild()
    assert await log.root_db["tree_tiles"].find().sort("_id", 1).to_list() == before


async def test_tiles_of_archived_entries_stay_and_only_what_is_hot_is_made_anew(
    log: Witnessed, proofs: ProofService
) -> None:
    await _grown(log, 600)
    before = await proofs.inclusion(10, None), await proofs.inclusion(500, None)
    await log.root_db["entries"].delete_many({"_id": {"$lte": 400}})
    assert (await proofs.inclusion(10, None), await proofs.inclusion(500, None)) == before
    await _flip(log, "0/1", 244)
    with pytest.raises(TreeDamaged):
        await proofs.inclusion(500, None)
    assert (await proofs.rebuild())[0] == 200
    assert (await proofs.inclusion(10, None), await proofs.inclusion(500, None)) == before
    await _flip(log, "0/0", 9)
    with pytest.raises(TreeDamaged, match=r"the tiles agree with each other and not|was altered"):
        await proofs.inclusion(11, None)


async def test_proofs_are_refused_without_a_checkpoint_and_beyond_it(log: Witnessed, proofs: ProofService) -> None:
    await log.grow_log(10)
    with pytest.raises(CheckpointMissing, match="POST /api/audit/checkpoint"):
        await proofs.inclusion(1, None)
    await log.checkpoint()
    await log.grow_log(2)
    for asked in (proofs.inclusion(11, None), proofs.inclusion(6, 5), proofs.consistency(3, 11)):
        with pytest.raises(Invalid) as refused:
            await asked
        assert refused.value.errors[0].code == "beyond_checkpoint"
    assert (await proofs.inclusion(3, 7)).root == await log.tree.root(7)


@pytest.mark.torture
async def test_a_million_entries_are_taken_up_in_bounded_memory(store: ProofRepository) -> None:
    """One call grows an empty tree to 10^6 leaves; what Python holds meanwhile stays below 32 MiB."""
    import tracemalloc

    class Made(ProofRepository):
        async def links(self, after: int, up_to: int) -> AsyncIterator[list[Link]]:
            def hash_of(seq: int) -> str:
                return hashlib.sha256(seq.to_bytes(4, "big")).hexdigest() if seq else "0" * 64

            for start in range(after + 1, up_to + 1, 4_096):
                stop = min(start + 4_096, up_to + 1)
                yield [Link(seq, hash_of(seq), hash_of(seq - 1)) for seq in range(start, stop)]

    store.__class__ = Made
    tracemalloc.start()
    try:
        await Tree(store).grow(1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024 * 1024
    assert (await store.state()).size == 1_000_000
