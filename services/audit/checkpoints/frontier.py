"""The RFC 6962 root of a growing list in logarithmic space: the roots of its perfect subtrees, largest first.

A list of n leaves has one perfect subtree for each 1 in the binary form of n (RFC 6962 section 2.1 splits at the
largest power of two). Appending merges equal neighbours; the root folds them from the right. Whoever extends the
frontier of a signed tree gets a root that is consistent with it by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.audit.proofs.merkle import HASH_SIZE, fold, leaf_hash, node_hash


class Frontier:
    """The state of one tree; `size` leaves."""

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._nodes = list(nodes)

    @classmethod
    def believed(cls, size: int, nodes: Sequence[str], root: str) -> Frontier | None:
        """A stored frontier, if it is that of the tree with this root; None if it is of any other, or of none."""
        try:
            frontier = cls(size, [bytes.fromhex(node) for node in nodes])
        except (TypeError, ValueError):
            return None
        fits = len(nodes) == size.bit_count() and all(len(node) == HASH_SIZE for node in frontier._nodes)
        return frontier if fits and frontier.root().hex() == root else None

    def append(self, entry_hash: str) -> None:
        """Add the leaf of an entry: its `hash` as 32 bytes."""
        node = leaf_hash(bytes.fromhex(entry_hash))
        merged = self.size
        while merged & 1:
            node = node_hash(self._nodes.pop(), node)
            merged >>= 1
        self._nodes.append(node)
        self.size += 1

    def root(self) -> bytes:
        return fold(self._nodes)

    def nodes(self) -> list[str]:
        """In hexadecimal, largest subtree first."""
        return [node.hex() for node in self._nodes]

    def copy(self) -> Frontier:
        return Frontier(self.size, self._nodes)
