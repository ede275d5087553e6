"""What clients are told of the route of the report, beside its signature."""

from __future__ import annotations

from typing import Any

from services.tenant.people.erasure.report.service import PersonNotErased
from shared.openapi import Described, Operations

_ANSWERED = "2026-11-23T09:30:00.214Z"
_LOOKED = "2026-11-23T09:31:31.006Z"


def _service(name: str, at: str, events: int, answers: int = 0, keys: int | None = None) -> dict[str, Any]:
    return {"service": name, "forgottenAt": at, "events": events, "answers": answers, "keys": keys}


def _backend(name: str, tenant: str | None) -> dict[str, Any]:
    return {"backend": name, "tenantSlug": tenant, "status": "gone", "seenAt": _LOOKED, "reason": None}


OPERATIONS: Operations = {
    "read_erasure": Described(
        text="`under_way` until every service has answered and every backend was seen without the person, then "
        "`forgotten` while something is left for a time, then `complete`. What is in `remains` without `until` does "
        "not go by time; `why` says by what. A row is left out once its time is over. The `ETag` covers the whole "
        "answer: with `If-None-Match` it is 304 while nothing has changed.",
        answer={
            "id": "0198c0de-0000-7000-8000-000000000002",
            "erasedAt": "2026-11-23T09:30:00.000Z",
            "status": "forgotten",
            "services": [
                _service("tenant", _LOOKED, 5, 2),
                _service("partner", _ANSWERED, 1),
                _service("billing", _ANSWERED, 0),
                _service("flags", _ANSWERED, 0),
                _service("health", _ANSWERED, 0),
                _service("audit", _ANSWERED, 0, 0, 2),
            ],
            "backends": [_backend("authentik", None), _backend("stalwart", "acme"), _backend("ocis", "acme")],
            "remains": [
                {
                    "where": "stream EVENTS",
                    "what": "events as they were said",
                    "until": "2026-12-23T09:31:31.006Z",
                    "why": "others catch up from it for 30 days; nobody can change what a stream holds",
                },
                {
                    "where": "backups",
                    "what": "everything",
                    "until": None,
                    "why": "they end by their own retention; after a restore the list of the erased is replayed",
                },
            ],
        },
        refusals=(PersonNotErased,),
    ),
}
