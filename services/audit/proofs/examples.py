"""What clients are told of the routes of proofs; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.audit.cold.models import ArchiveDamaged
from services.audit.cold.object_store import StoreUnavailable
from services.audit.proofs.models import CheckpointMissing, EntriesMissing, TreeDamaged
from services.audit.turns import ExportsBusy
from shared.openapi import Described, Operations

_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
CHECKPOINT: dict[str, Any] = {
    "number": 3,
    "size": 8,
    "root": _ROOT,
    "note": "audit.dezky.example\n8\nXcnaeacGWamtVZy3Ad7Zoqudgjqtb0lgz+Nw7/RgQyg=\n\n— audit.dezky.example "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
}
_LINE = (
    '{"checkpoints":1,"contiguous":true,"entries":1,"format":"dezky-audit-bundle/v1","fromSeq":8,"kind":"bundle",…}\n'
)
BUNDLE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bundle, a record a line.",
        "content": {"application/jsonl": {"schema": {"type": "string"}, "example": _LINE}},
    }
}

OPERATIONS: Operations = {
    "prove_inclusion": Described(
        text="Hash the entry as the format of the log says, then climb: `proof` leads to `root` (RFC 9162 section "
        "2.1.3.2), and the checkpoint's note signs its own root.",
        answer={
            "seq": 6,
            "size": 8,
            "root": _ROOT,
            "leafHash": "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
            "proof": [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
            "checkpoint": CHECKPOINT,
        },
        refusals=(CheckpointMissing, TreeDamaged),
    ),
    "prove_consistency": Described(
        text="Whoever holds an older checkpoint sees that nothing before it was changed (RFC 9162 section 2.1.4.2).",
        answer={
            "first": 6,
            "second": 8,
            "firstRoot": "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "secondRoot": _ROOT,
            "proof": [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
            "checkpoint": CHECKPOINT,
        },
        refusals=(CheckpointMissing, TreeDamaged),
    ),
    "rebuild_tree": Described(
        text="For when a proof is refused with `tree_damaged`. Nothing is written unless the entries lead to the root "
        "that the newest checkpoint signs. Takes as long as the entries in the database are many.",
        answer={"leaves": 8, "checkpoint": CHECKPOINT},
        refusals=(CheckpointMissing, TreeDamaged, EntriesMissing),
    ),
    "export_bundle": Described(
        text="Entries as they were hashed, each with a proof against the newest checkpoint, the checkpoints with their "
        "signatures, and the public keys, as JSON Lines. At most 10,000 entries, archived ones among them; `python "
        "bundle.py FILE` verifies it anywhere. Without filters every entry of the range is there, and one left out "
        "would be noticed. A bundle without its last line is not complete.",
        refusals=(CheckpointMissing, TreeDamaged, EntriesMissing, ArchiveDamaged, StoreUnavailable, ExportsBusy),
    ),
}
