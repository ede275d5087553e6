"""The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1), as pure functions.

A tree of size n has n leaves, numbered from 0. What a proof is made of is named first, as spans of leaves, and
looked up afterwards: so the same functions serve a tree in memory and one in tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256().digest()

Span = tuple[int, int]
"""Leaves from the first to before the second."""
Node = tuple[int, int]
"""A perfect subtree: level (0 for leaves) and index from the left; it covers 2^level leaves."""


def leaf_hash(content: bytes) -> bytes:
    """SHA-256(0x00 ‖ content)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^k hashes of one level."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[place], level[place + 1]) for place in range(0, len(level), 2)]
    return level[0]


def peaks(span: Span) -> list[Node]:
    """The perfect subtrees of which a span consists, from left to right: the largest first.

    The span must be a subtree of the format: it starts at a multiple of the largest power of two that fits into it.
    """
    start, end = span
    found: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over peaks, given from left to right; of none, that of the empty tree."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def _split(width: int) -> int:
    """The largest power of two below `width` (2 at least)."""
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Whose roots prove that leaf `index` is in the tree, from the leaf upwards (PATH). Raises ValueError outside."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end = 0, size
    spans: list[Span] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """Whose roots prove that the tree of `second` begins with that of `first` (PROOF). Raises ValueError outside.

    Empty if the sizes are equal.
    """
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} cannot begin with one of {first}")
    start, end = 0, second
    spans: list[Span] = []
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start > 0:
        # The whole first tree is no part of the proof: the verifier has its root.
        spans.append((start, end))
    return spans[::-1]


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); None if its length is wrong."""
    if not 0 <= index < size:
        return None
    fn, sn = index, size - 1
    root = leaf
    for step in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            root = node_hash(step, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, step)
        fn, sn = fn >> 1, sn >> 1
    return root if sn == 0 else None


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that `leaf` (its leaf hash) is number `index` of the tree of `size` under `root`."""
    return root_from_inclusion(index, size, leaf, proof) == root


def verify_consistency(first: int, second: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `second` begins with that of `first` (RFC 9162 section 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and roots[0] == roots[1]
    path = list(proof) if first & (first - 1) else [roots[0], *proof]
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(step, old), node_hash(step, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (old, new) == roots


def proof_nodes(spans: Iterable[Span]) -> Iterator[Node]:
    """Every perfect subtree that the spans of a proof consist of."""
    for span in spans:
        yield from peaks(span)


def proof(spans: Iterable[Span], node: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof, made of perfect subtrees."""
    return [fold([node(peak) for peak in peaks(span)]) for span in spans]
