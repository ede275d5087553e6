"""What clients are told of the routes of audit, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

import orjson

from services.audit.checkpoints.service import NoCheckpoint
from services.audit.checkpoints.writer import CheckpointBusy, CheckpointRefused
from services.audit.exports import as_csv
from services.audit.turns import ExportsBusy
from services.audit.verifications.service import TooManyVerifications
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

ENTRY: dict[str, Any] = {
    "v": 1,
    "seq": 1_204,
    "id": "0198c0de-0000-7000-8000-000000000009",
    "at": "2026-11-23T09:30:00.000Z",
    "actorType": "user",
    "actorId": "0198c0de-0000-7000-8000-000000000006",
    "actorEmail": "operator@dezky.example",
    "actorIp": "203.0.113.7",
    "surface": "operator",
    "action": "tenant.suspended",
    "outcome": "success",
    "resourceType": "tenant",
    "resourceId": "acme",
    "resourceName": "Acme Ltd",
    "tenantSlug": "acme",
    "partnerSlug": "nordic",
    "source": "tenant",
    "metadata": {
        "type": "tenant.suspended.v1",
        "subject": "tenants/acme",
        "sourceSeq": 147,
        "version": 3,
        "changes": {"status": {"before": "active", "after": "suspended"}},
        "data": {"reason": "unpaid"},
    },
    "prevHash": "6f1ed002ab5595859014ebf0951522d9a6a0a4b39ec6f4e1a3d0a3f0b1e7c9d2",
    "hash": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    "erased": False,
}
PAGE = {"items": [ENTRY], "next": None, "searchedTo": None}
AS_LINES = orjson.dumps(ENTRY, option=orjson.OPT_APPEND_NEWLINE).decode()
AS_CSV = as_csv([ENTRY], header=True).decode()
EXPORTED = (
    "With `format=csv` or `ndjson`, or the like `Accept`, the answer is the whole list as it was at the beginning, as "
    "a stream: `limit` and `cursor` do not apply, `Dezky-Head-Seq` is the newest entry of that moment. An answer that "
    "ends without its last chunk is not whole: go on with `before` at the lowest `seq` that came."
)

CHECKPOINT: dict[str, Any] = {
    "number": 13,
    "at": "2026-11-23T09:30:01.000Z",
    "headSeq": 1_204,
    "headHash": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    "rootHash": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "prevCheckpointHash": "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa",
    "hash": "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06",
    "reason": "interval",
    "signatures": [
        {
            "sigAlg": "HMAC-SHA-256",
            "keyId": "5c62e091b8c0565f",
            "signature": "bUGZRx4Uro1TU1fP2lQH1kRZ6Xh7hUmE1kZ2v0d0YyM=",
        },
        {
            "sigAlg": "Ed25519",
            "keyId": "21fe31dfa154a261",
            "signature": ("Q9FqPp1Zr0R5tQH0aWwz1o2Z0n0Jw7dC3b0m6b5mG4s2nGJv4m8o3o9H9f1l8P0kQ2v3y6c7d8e9f0g1h2i3Bw=="),
        },
    ],
    "note": None,
}
VERDICT: dict[str, Any] = {
    "ok": True,
    "verified": 1_204,
    "checkpoints": 13,
    "headSeq": 1_204,
    "oldestHotSeq": 1,
    "highestArchivedSeq": None,
    "findings": [],
}
JOB: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000012",
    "state": "done",
    "from": 1,
    "to": None,
    "sinceCheckpoint": False,
    "verified": 1_204,
    "of": 1_204,
    "after": 0,
    "anchorCheckpoint": None,
    "witnessedSeq": 1_204,
    "verdict": VERDICT,
}
NOTHING_YET = {"verified": 0, "of": None, "after": None, "witnessedSeq": None, "verdict": None}

OPERATIONS: Operations = {
    "list_entries": Described(
        text="One filter is answered by an index; several together look through a bounded part of the log for each "
        "page, so a page may be short and still have a `next`: then `searchedTo` says how far it has looked. Personal "
        f"values are null, and `erased` is true, once the key of their person has been destroyed.\n\n{EXPORTED}",
        answer=PAGE,
        csv=AS_CSV,
        ndjson=AS_LINES,
        refusals=(ExportsBusy,),
    ),
    "verify": Described(
        text="Reads the whole chain: it takes as long as the log is. Where the chain does not hold, `ok` is false and "
        "`break` names the first place: its `kind`, `seq`, what was expected and what is there.",
        answer=VERDICT,
    ),
    "request_verification": Described(
        text="A range is widened to the next checkpoint, so that a signature vouches for its end. The job goes on "
        "where it was if the service is started again.",
        request={"from": 1},
        answer={**JOB, **NOTHING_YET, "state": "open"},
        refusals=(TooManyVerifications,),
    ),
    "read_verification": Described(
        text="`verified` grows to `of` while it runs; `verdict` is null until it is done. `after` says behind which "
        "entry it began, and `anchorCheckpoint` which checkpoint vouches for what came before.",
        answer=JOB,
    ),
    "read_latest_checkpoint": Described(
        text="The form and the signatures are described in docs/audit-format.md.",
        answer=CHECKPOINT,
        refusals=(NoCheckpoint, CheckpointRefused),
    ),
    "make_checkpoint": Described(
        text="Answers 201 with a new checkpoint, or 200 with the newest one if nothing came after it. Nothing is "
        "signed when the log is not what was signed before.",
        answer=CHECKPOINT,
        refusals=(NoCheckpoint, CheckpointRefused, CheckpointBusy),
    ),
    "list_tenant_entries": Described(
        text="For operators, the tenant's admins and its partner; a partner does not see the time of another one.\n\n"
        f"{EXPORTED}",
        answer=PAGE,
        csv=AS_CSV,
        ndjson=AS_LINES,
        refusals=(InsufficientRole, ExportsBusy),
    ),
    "list_partner_entries": Described(
        text=f"For operators and the partner's people.\n\n{EXPORTED}",
        answer=PAGE,
        csv=AS_CSV,
        ndjson=AS_LINES,
        refusals=(ExportsBusy,),
    ),
}
