"""What clients are told of the routes of audit, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

import orjson

from services.audit.exports import as_csv
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
PAGE = {"items": [ENTRY], "next": None}
AS_LINES = orjson.dumps(ENTRY, option=orjson.OPT_APPEND_NEWLINE).decode()
AS_CSV = as_csv([ENTRY], header=True).decode()
EXPORTED = (
    "With `format=csv` or `ndjson`, or the like `Accept`, the answer is the whole list as it was at the beginning, as "
    "a stream: `limit` and `cursor` do not apply, `Dezky-Head-Seq` is the newest entry of that moment. An answer that "
    "ends without its last chunk is not whole: go on with `before` at the lowest `seq` that came."
)

OPERATIONS: Operations = {
    "list_entries": Described(
        text="One filter is answered by an index; several together look through a bounded part of the log for each "
        "page, so a page may be short and still have a `next`. Personal values are null, and `erased` is true, once "
        f"the key of their person has been destroyed.\n\n{EXPORTED}",
        answer=PAGE,
        csv=AS_CSV,
        ndjson=AS_LINES,
    ),
    "verify": Described(
        text="Reads the whole chain: it takes as long as the log is. Where the chain does not hold, `ok` is false and "
        "`break` names the first place: its `kind`, `seq`, what was expected and what is there.",
        answer={
            "ok": True,
            "verified": 1_204,
            "checkpoints": 0,
            "headSeq": 1_204,
            "oldestHotSeq": 1,
            "highestArchivedSeq": None,
            "findings": [],
        },
    ),
    "list_tenant_entries": Described(
        text="For operators, the tenant's admins and its partner; a partner does not see the time of another one.\n\n"
        f"{EXPORTED}",
        answer=PAGE,
        csv=AS_CSV,
        ndjson=AS_LINES,
        refusals=(InsufficientRole,),
    ),
    "list_partner_entries": Described(
        text=f"For operators and the partner's people.\n\n{EXPORTED}", answer=PAGE, csv=AS_CSV, ndjson=AS_LINES
    ),
}
