"""What may be proven: that an entry is in the log that a checkpoint covers, and that one log begins with another.

Every proof is verified against the newest checkpoint's root before it is given away.
"""

from __future__ import annotations

from services.audit.proofs.merkle import (
    Span,
    consistency_spans,
    fold,
    inclusion_spans,
    peaks,
    proof,
    verify_consistency,
    verify_inclusion,
)
from services.audit.proofs.models import CheckpointMissing, Consistency, Inclusion, StoredCheckpoint
from services.audit.proofs.repository import ProofRepository
from services.audit.proofs.tiles import Nodes
from services.audit.proofs.tree import Tree
from shared.errors import Invalid


class ProofService:
    """Proofs against the newest checkpoint."""

    def __init__(self, repository: ProofRepository, tree: Tree) -> None:
        self._repository = repository
        self._tree = tree

    async def inclusion(self, seq: int, size: int | None) -> Inclusion:
        """That entry `seq` is among the first `size`; by default, among those that the newest checkpoint covers.

        Raises CheckpointMissing, Invalid for numbers beyond the checkpoint, TreeDamaged.
        """
        checkpoint = await self._newest()
        size = checkpoint.size if size is None else size
        _within("size", size, checkpoint.size, "the newest checkpoint covers")
        _within("seq", seq, size, "the tree asked for has")
        index = seq - 1
        spans = inclusion_spans(index, size)
        needed = [*spans, (index, seq), (0, size), *consistency_spans(size, checkpoint.size)]
        nodes = await self._tree.read(needed)
        root, leaf, path = _root(nodes, size), nodes((0, index)), proof(spans, nodes)
        if not (verify_inclusion(index, size, leaf, path, root) and _leads_to(nodes, size, root, checkpoint)):
            raise await self._tree.blame(needed)
        return Inclusion(seq, size, root, leaf, path, checkpoint)

    async def consistency(self, first: int, second: int | None) -> Consistency:
        """That the first `second` entries (by default: all of the newest checkpoint) begin with the first `first`.

        Raises as `inclusion`.
        """
        checkpoint = await self._newest()
        second = checkpoint.size if second is None else second
        _within("second", second, checkpoint.size, "the newest checkpoint covers")
        _within("first", first, second, "the larger tree has")
        spans = consistency_spans(first, second)
        needed = [*spans, (0, first), (0, second), *consistency_spans(second, checkpoint.size)]
        nodes = await self._tree.read(needed)
        roots, path = (_root(nodes, first), _root(nodes, second)), proof(spans, nodes)
        if not (verify_consistency(first, second, roots, path) and _leads_to(nodes, second, roots[1], checkpoint)):
            raise await self._tree.blame(needed)
        return Consistency(first, second, roots[0], roots[1], path, checkpoint)

    async def rebuild(self) -> tuple[int, StoredCheckpoint]:
        """Make the tiles anew from the entries up to the newest checkpoint; tells how many leaves.

        Raises CheckpointMissing, and as `Tree.rebuild`.
        """
        checkpoint = await self._newest()
        return await self._tree.rebuild(checkpoint.size, checkpoint.root), checkpoint

    async def _newest(self) -> StoredCheckpoint:
        checkpoint = await self._repository.newest_checkpoint()
        if checkpoint is None or checkpoint.size == 0:
            raise CheckpointMissing
        return checkpoint


def _root(nodes: Nodes, size: int) -> bytes:
    return fold([nodes(peak) for peak in peaks((0, size))])


def _leads_to(nodes: Nodes, size: int, root: bytes, checkpoint: StoredCheckpoint) -> bool:
    spans: list[Span] = consistency_spans(size, checkpoint.size)
    return verify_consistency(size, checkpoint.size, (root, checkpoint.root), proof(spans, nodes))


def _within(name: str, value: int, most: int, whose: str) -> None:
    if value > most:
        raise Invalid.field(
            name, "beyond_checkpoint", f"{name} is {value}, but {whose} {most} entries; a newer checkpoint has more"
        )
