"""What clients are told of the routes of ingestion."""

from __future__ import annotations

from typing import Any

from services.audit.ingest.stalwart import BadSignature, IngestPaused
from shared.errors import MalformedRequest
from shared.openapi import Described, Operations

SOURCES: dict[str, Any] = {
    "items": [
        {
            "source": "authentik",
            "state": "ok",
            "reason": "",
            "lastReceived": "2026-11-23T09:30:00.000Z",
            "lastPosition": "2026-11-23T09:29:58.412Z",
            "lagSeconds": 3,
            "waiting": 0,
            "received": 18_204,
            "skipped": {},
        },
        {
            "source": "stalwart",
            "state": "silent",
            "reason": "nothing has arrived for 26 hours",
            "lastReceived": "2026-11-22T07:01:13.000Z",
            "lastPosition": None,
            "lagSeconds": 0,
            "waiting": 0,
            "received": 90_417,
            "skipped": {},
        },
        {
            "source": "ocis",
            "state": "error",
            "reason": "AUDIT_OCIS_AUDIT_FILE: there is no such file",
            "lastReceived": "2026-11-23T04:11:09.120Z",
            "lastPosition": "byte 88213 of file 4",
            "lagSeconds": 19_100,
            "waiting": 0,
            "received": 5_120,
            "skipped": {"not_json": 2},
        },
    ]
}
BATCH = {
    "events": [
        {
            "id": "1795685400001",
            "createdAt": "2026-11-23T09:30:00Z",
            "type": "auth.failed",
            "data": {"accountName": "jane@acme.example", "remoteIp": "203.0.113.7"},
        }
    ]
}
SIGNED_BATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Signature",
            "in": "header",
            "required": True,
            "description": "Base64 of HMAC-SHA-256 over the raw body, under the key of the webhook.",
            "schema": {"type": "string"},
            "example": "W41L2qOtdwJHyk2ppJrMEEEfFv6ZkBSrJpyrHUDp7Xg=",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": BATCH}},
    },
}

OPERATIONS: Operations = {
    "list_sources": Described(
        text="`late`: more than two minutes behind. `silent`: nothing for longer than is usual there, see "
        "`AUDIT_*_SILENT_HOURS`. `error`: it could not be read at the last attempt. `off`: no setting names it.",
        answer=SOURCES,
    ),
    "receive_stalwart_events": Described(
        text="Answered after the events are stored. A batch that comes again, also with other ids, changes nothing.",
        refusals=(BadSignature, MalformedRequest, IngestPaused),
    ),
}
