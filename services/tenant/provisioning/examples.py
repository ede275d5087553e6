"""What clients are told of drift and of certificates, beside their signatures; ``tests/test_openapi.py`` holds it "
"to them."""

from __future__ import annotations

from typing import Any

from services.tenant.models import WrongStatus
from services.tenant.provisioning.drift.models import (
    AcceptedAlready,
    BadExpiry,
    DriftNotAcceptable,
    TooManyAcceptances,
    UnknownDrift,
)
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

_OBSERVED = "2026-12-23T09:30:04.512Z"

# Signed with the key of RFC 8037, appendix A, which is nobody's.
_CERTIFICATE = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsiLCJ0eXAiOiJkZXpreS1kZW"
    "xldGlvbi1jZXJ0aWZpY2F0ZStqd3MifQ.eyJiYWNrZW5kcyI6W3siZ29uZSI6eyJhY2NvdW50IjoyLCJncm91cCI6MSwicHJvYmUiOjF9LCJuY"
    "W1lIjoiYXV0aGVudGlrIiwib2JzZXJ2ZWRBdCI6IjIwMjYtMTItMjNUMDk6MzA6MDQuNTEyWiJ9LHsiZ29uZSI6eyJzcGFjZSI6MSwidXNlciI"
    "6Mn0sIm5hbWUiOiJvY2lzIiwib2JzZXJ2ZWRBdCI6IjIwMjYtMTItMjNUMDk6MzA6MDQuNTEyWiJ9LHsiZ29uZSI6eyJhY2NvdW50IjoyLCJkb"
    "21haW4iOjF9LCJuYW1lIjoic3RhbHdhcnQiLCJvYnNlcnZlZEF0IjoiMjAyNi0xMi0yM1QwOTozMDowNC41MTJaIn1dLCJlcmFzZWRBdCI6IjI"
    "wMjYtMTItMjNUMDk6MzA6MDQuNTEyWiIsImVyYXNpbmdTaW5jZSI6IjIwMjYtMTItMjNUMDk6MzA6MDAuMDAwWiIsImZvcm1hdCI6MSwiaXNzd"
    "WVyIjoiZGV6a3k6cHJvZHVjdGlvbiIsInJlcXVlc3RlZEF0IjoiMjAyNi0xMS0yM1QwOTozMDowMC4wMDBaIiwidGVuYW50Ijp7ImlkIjoiMDE"
    "5OGMwZGUtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwic2x1ZyI6ImFjbWUifX0.ze8MPRyt3IBE4sIPDeCaflwjACSS2jOvVo8KQlONd"
    "KXwcQMrCylYZyH7RQvco-KuX_Q5libRfhYzaUoJqrwXDA"
)
_PAYLOAD: dict[str, Any] = {
    "format": 1,
    "issuer": "dezky:production",
    "tenant": {"id": "0198c0de-0000-7000-8000-000000000001", "slug": "acme"},
    "requestedAt": "2026-11-23T09:30:00.000Z",
    "erasingSince": "2026-12-23T09:30:00.000Z",
    "erasedAt": _OBSERVED,
    "backends": [
        {"name": "authentik", "observedAt": _OBSERVED, "gone": {"account": 2, "group": 1, "probe": 1}},
        {"name": "ocis", "observedAt": _OBSERVED, "gone": {"space": 1, "user": 2}},
        {"name": "stalwart", "observedAt": _OBSERVED, "gone": {"account": 2, "domain": 1}},
    ],
}
_ACCEPTED: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000011",
    "integration": "ocis",
    "kind": "space-quota",
    "object": "1284d238-aa92-42ce-bdc4-0b0000009157$5c6d",
    "reason": "agreed with the customer until spring",
    "acceptedBy": "0198c0de-0000-7000-8000-000000000006",
    "acceptedAt": "2026-11-23T09:30:00.000Z",
    "expiresAt": "2027-03-20T00:00:00.000Z",
    "lastSeenAt": "2026-11-23T09:35:00.000Z",
}
_LEFT = {"integration": "authentik", "kind": "account-disabled", "object": "17"}

OPERATIONS: Operations = {
    "list_drift": Described(
        text="What is repaired is not here: `tenant.drift_repaired` in the log names it. `left` is what somebody else "
        "made and what is therefore never touched. `docs/drift.md` lists the kinds.",
        answer={"items": [_ACCEPTED], "next": None, "left": [_LEFT]},
    ),
    "accept_drift": Described(
        text="Name the difference as it was found (`integration`, `kind`, `object`). After `expiresAt`, at most a year "
        "from now, it is repaired again. What opens a closed door is always repaired and cannot be accepted.",
        request={
            "integration": "ocis",
            "kind": "space-quota",
            "object": "1284d238-aa92-42ce-bdc4-0b0000009157$5c6d",
            "reason": "agreed with the customer until spring",
            "expiresAt": "2027-03-20T00:00:00.000Z",
        },
        answer={**_ACCEPTED, "lastSeenAt": None},
        refusals=(UnknownDrift, DriftNotAcceptable, BadExpiry, AcceptedAlready, TooManyAcceptances, WrongStatus),
    ),
    "end_acceptance": Described(text="The next comparison repairs it; the answer does not wait for that."),
    "read_certificate": Described(
        text="For operators and the partner that owned the tenant; 404 until the erasure has ended. Only `certificate` "
        "counts: a JWS (RFC 7515, compact form) that is verified with the platform's published Ed25519 key. "
        "`payload` and `publicKey` are conveniences for readers. `docs/deletion-certificate.md` is the format.",
        answer={
            "certificate": _CERTIFICATE,
            "sha256": "2b95228d4f850d063b24673d7bff0773e53411263618e429feba806e5b694ced",
            "payload": _PAYLOAD,
            "publicKey": {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                "alg": "EdDSA",
                "use": "sig",
            },
        },
        refusals=(InsufficientRole,),
    ),
}
