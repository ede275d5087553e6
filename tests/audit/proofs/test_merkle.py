"""The tree of RFC 6962 against its published reference tree, and against the definition of the RFC."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.checkpoints.frontier import Frontier
from services.audit.proofs.merkle import (
    EMPTY_ROOT,
    Node,
    consistency_spans,
    fold,
    inclusion_spans,
    leaf_hash,
    peaks,
    perfect_root,
    proof,
    verify_consistency,
    verify_inclusion,
)
from tests.audit.proofs.conftest import rfc6962_root

pytestmark = pytest.mark.unit

# The reference tree of Certificate Transparency: google/certificate-transparency, python/ct/crypto/merkle_test.py
# and cpp/merkletree/merkle_tree_test.cc.
CONTENTS = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
_A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = [
    (0, 1, []),
    (0, 8, [_A, _B, _C]),
    (5, 8, [_D, _E, ROOTS[4]]),
    (2, 3, [ROOTS[2]]),
    (1, 5, [ROOTS[1], _B, _D]),
]
CONSISTENCY = [(1, 1, []), (1, 8, [_A, _B, _C]), (6, 8, [_F, _E, ROOTS[4]]), (2, 5, [_B, _D])]


class Leaves:
    """Nodes over contents in memory."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        self.hashes = [leaf_hash(content) for content in contents]

    def __call__(self, node: Node) -> bytes:
        level, index = node
        return perfect_root(self.hashes[index << level : (index + 1) << level])

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return proof(inclusion_spans(index, size), self)

    def consistency(self, first: int, second: int) -> list[bytes]:
        return proof(consistency_spans(first, second), self)


def rfc6962_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, word for word."""
    n = len(leaves)
    if n == 1:
        return []
    k = 1
    while k * 2 < n:
        k *= 2
    if m < k:
        return [*rfc6962_path(m, leaves[:k]), rfc6962_root(leaves[k:])]
    return [*rfc6962_path(m - k, leaves[k:]), rfc6962_root(leaves[:k])]


def rfc6962_proof(m: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2, word for word."""
    n = len(leaves)
    if m == n:
        return [] if whole else [rfc6962_root(leaves)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*rfc6962_proof(m, leaves[:k], whole), rfc6962_root(leaves[k:])]
    return [*rfc6962_proof(m - k, leaves[k:], False), rfc6962_root(leaves[:k])]


def frontier(contents: Iterable[bytes]) -> Frontier:
    """The edge of a tree that grew leaf by leaf."""
    edge = Frontier()
    for content in contents:
        edge.append(content.hex())
    return edge


@pytest.mark.parametrize("size", ROOTS)
def test_the_published_roots_come_out(size: int) -> None:
    edge = frontier(CONTENTS[:size])
    assert edge.root().hex() == ROOTS[size]
    assert fold([Leaves(CONTENTS)(node) for node in peaks((0, size))]).hex() == ROOTS[size]
    assert EMPTY_ROOT.hex() == ROOTS[0]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_the_published_inclusion_proofs_come_out_and_verify(index: int, size: int, path: list[str]) -> None:
    assert [step.hex() for step in Leaves(CONTENTS).inclusion(index, size)] == path
    steps, root = [bytes.fromhex(step) for step in path], bytes.fromhex(ROOTS[size])
    assert verify_inclusion(index, size, leaf_hash(CONTENTS[index]), steps, root)
    assert not verify_inclusion(index, size, leaf_hash(b"another"), steps, root)


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_the_published_consistency_proofs_come_out_and_verify(first: int, second: int, path: list[str]) -> None:
    assert [step.hex() for step in Leaves(CONTENTS).consistency(first, second)] == path
    roots = bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second])
    assert verify_consistency(first, second, roots, [bytes.fromhex(step) for step in path])


def test_the_example_of_the_bundle_format_is_right() -> None:
    """docs/audit-bundle-format.md section 6, over the hashes of docs/audit-format.md section 7."""
    folder = Path(__file__).resolve().parents[3] / "docs"
    first = "7831f0a9c861ad2d004758dfa2565727ca0ac9957c21f8a57a5b2d552cb19657"
    second = "ad7f8b7b95f7b60d44198e1eddba70bf485f80988b9ccc4e61e7bcc9ed80a7ce"
    entries = (folder / "audit-format.md").read_text(encoding="utf-8")
    assert f"\n    {first}\n" in entries
    assert f"\n    {second}\n" in entries
    contents = [bytes.fromhex(first), bytes.fromhex(second)]
    example = f"    {leaf_hash(contents[0]).hex()}\n    {rfc6962_root(contents).hex()}\n"
    assert (folder / "audit-bundle-format.md").read_text(encoding="utf-8").endswith(example)


CONTENT = [bytes([number % 256, number // 256]) for number in range(700)]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 600))
def test_roots_and_proofs_are_those_of_the_rfcs_definition(data: st.DataObject, size: int) -> None:
    contents = CONTENT[:size]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    leaves, root = Leaves(contents), rfc6962_root(contents)
    assert frontier(contents).root() == root
    path, steps = leaves.inclusion(index, size), leaves.consistency(first, size)
    assert path == rfc6962_path(index, contents)
    assert steps == rfc6962_proof(first, contents)
    assert verify_inclusion(index, size, leaves.hashes[index], path, root)
    assert verify_consistency(first, size, (rfc6962_root(contents[:first]), root), steps)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 70))
def test_no_proof_survives_a_changed_bit_a_missing_step_or_another_place(data: st.DataObject, size: int) -> None:
    contents = CONTENT[:size]
    leaves, root = Leaves(contents), rfc6962_root(contents)
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    path, steps = leaves.inclusion(index, size), leaves.consistency(first, size)
    roots = rfc6962_root(contents[:first]), root
    for changed in _changed(path):
        assert not verify_inclusion(index, size, leaves.hashes[index], changed, root)
    for changed in _changed(steps):
        assert not verify_consistency(first, size, roots, changed)
    assert not verify_inclusion((index + 1) % size, size, leaves.hashes[index], path, root)
    assert not verify_consistency(first, size, (bytes(32), root), steps)
    assert not verify_consistency(first, size, (roots[0], bytes(32)), steps)


def test_a_proof_of_a_smaller_tree_is_none_of_a_larger_one_that_is_said_to_have_its_root() -> None:
    leaves, roots = Leaves(CONTENTS), (bytes.fromhex(ROOTS[2]), bytes.fromhex(ROOTS[8]))
    assert verify_inclusion(0, 8, leaves.hashes[0], leaves.inclusion(0, 8), roots[1])
    assert verify_consistency(2, 8, roots, leaves.consistency(2, 8))
    for size in (9, 15, 16):
        assert not verify_inclusion(0, size, leaves.hashes[0], leaves.inclusion(0, 8), roots[1])
        assert not verify_consistency(2, size, roots, leaves.consistency(2, 8))


def _changed(steps: Sequence[bytes]) -> list[list[bytes]]:
    flipped = [
        [*steps[:place], bytes([step[0] ^ 1]) + step[1:], *steps[place + 1 :]] for place, step in enumerate(steps)
    ]
    return [*flipped, list(steps[:-1]), [*steps, hashlib.sha256(b"more").digest()]]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_spans(index, size)
    assert not verify_inclusion(index, size, bytes(32), [], bytes(32))


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3), (-1, 1)])
def test_sizes_in_the_wrong_order_have_no_proof(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        consistency_spans(first, second)
    assert not verify_consistency(first, second, (bytes(32), bytes(32)), [])
