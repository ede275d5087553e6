"""What clients are told of the routes of flags, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.flags.models import FlagExists
from shared.errors import NotFound
from shared.openapi import Described, Operations

_CREATED = "2026-11-01T08:00:00.000Z"
_CHANGED = "2026-11-23T09:30:00.000Z"
_SCOPE = {"plans": ["business"], "tenantSlugs": [], "partnerSlugs": ["nordic"], "environments": []}

FLAG: dict[str, Any] = {
    "key": "oci_versioning",
    "description": "Versions of files in the suite",
    "state": "rollout",
    "pct": 25,
    "scope": _SCOPE,
    "createdAt": _CREATED,
    "updatedAt": _CHANGED,
    "version": 2,
    "history": [
        {
            "at": _CHANGED,
            "actor": "0198c0de-0000-7000-8000-000000000006",
            "note": "first quarter of the customers",
            "changes": {"pct": {"before": 10, "after": 25}},
        }
    ],
}

OPERATIONS: Operations = {
    "create_flag": Described(
        text="`docs/flag-buckets.md` says how `state`, `pct` and `scope` decide.",
        request={"key": "oci_versioning", "description": "Versions of files in the suite", "state": "off", "pct": 0},
        answer={
            **FLAG,
            "state": "off",
            "pct": 0,
            "scope": {axis: [] for axis in _SCOPE},
            "updatedAt": _CREATED,
            "version": 1,
            "history": [],
        },
        refusals=(FlagExists,),
        location="/api/flags/oci_versioning",
    ),
    "list_flags": Described(answer={"items": [FLAG], "next": None}),
    "evaluate_flags": Described(
        text="For everybody, of a tenant within their scope; a POST, because the tenant must not end up in logs of "
        "URLs.",
        request={"tenantSlug": "acme"},
        answer={"jmap_native_v2": False, "oci_versioning": True},
        refusals=(NotFound,),
    ),
    "read_flag": Described(answer=FLAG),
    "update_flag": Described(
        text="Members that are absent stay; `scope` is replaced whole. Raising `pct` only adds tenants.",
        request={"pct": 25, "note": "first quarter of the customers"},
        answer=FLAG,
    ),
    "delete_flag": Described(text="The key may be used again; its versions go on where they ended."),
    "kill_flag": Described(
        text="State `off` and 0 %, whatever there was; a second time is a no-op.",
        answer={**FLAG, "state": "off", "pct": 0, "version": 3},
    ),
    "preview_flag": Described(
        text="`first` are up to 100 of the tenants, by slug.", answer={"matched": 3, "total": 12, "first": ["acme"]}
    ),
    "explain_flag": Described(
        text="`bucket` is the tenant's number from 0 to 99 where a percentage decided.",
        request={"tenantSlug": "acme"},
        answer={"value": True, "reason": "SPLIT", "bucket": 17},
    ),
}
