"""Checkpoints as callers see them."""

from __future__ import annotations

from pydantic import Field

from services.audit.checkpoints.models import Row, checkpoint_hash
from shared.schemas import View


class SignatureView(View):
    """One signature, over the bytes that docs/audit-format.md names."""

    sig_alg: str
    key_id: str
    signature: str = Field(description="Base64.")


class CheckpointView(View):
    """What the log was: its newest entry, and the root of the tree of all of them."""

    number: int
    at: str
    head_seq: int
    head_hash: str
    root_hash: str = Field(description="RFC 6962 root over the hashes of entries 1 to `headSeq`.")
    prev_checkpoint_hash: str
    hash: str = Field(description="What the next checkpoint carries as `prevCheckpointHash`.")
    reason: str
    signatures: list[SignatureView]
    note: str | None = Field(description="The same root as a C2SP signed note.")


def view_of(row: Row) -> CheckpointView:
    """The view of a stored checkpoint."""
    return CheckpointView(
        number=row["_id"],
        at=row["at"],
        head_seq=row["headSeq"],
        head_hash=row["headHash"],
        root_hash=row["rootHash"],
        prev_checkpoint_hash=row["prevCheckpointHash"],
        hash=checkpoint_hash(row),
        reason=row["reason"],
        signatures=[
            SignatureView(sig_alg=item["sigAlg"], key_id=item["keyId"], signature=item["signature"])
            for item in row["signatures"]
        ],
        note=row["note"],
    )
