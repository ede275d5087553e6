"""Events as the tenant service publishes them, written out by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any

PERSONAL_KEY = hashlib.sha256(b"a personal key of tests").digest()
KEY_TEXT = base64.urlsafe_b64encode(PERSONAL_KEY).rstrip(b"=").decode()
"""The same, as settings want it; in tests it is the signing key as well."""
JANE = "0198c0de-0000-7000-8000-000000000001"
OTTO = "0198c0de-0000-7000-8000-000000000002"


def tenant_event(number: int, type_: str = "tenant.updated.v1", **changes: Any) -> dict[str, Any]:
    """A change of the tenant `acme` by Jane of nordic: its name, and its billing contact, which is personal."""
    slug = changes.pop("slug", "acme")
    partner = changes.pop("partner", "nordic")
    data: dict[str, Any] = {
        "actor": {
            "type": "user",
            "id": JANE,
            "email": "Jane@Nordic.example",
            "ip": "203.0.113.7",
            "surface": "portal",
        },
        "action": type_.removesuffix(".v1"),
        "outcome": "success",
        "resource": {
            "type": "tenant",
            "id": f"id-of-{slug}",
            "name": slug.title(),
            "tenantSlug": slug,
            "partnerSlug": partner,
        },
        "version": number,
        "state": _state(slug, partner, number),
        "changes": {
            "name": {"before": f"Name {number - 1}", "after": f"Name {number}"},
            "billing": {
                "before": {"contact": None, "company": "Acme", "address": None},
                "after": {"contact": "Erna Muster", "company": "Acme", "address": "Musterweg 1"},
            },
            "plan": None,
        },
    }
    data |= changes.pop("data", {})
    return {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=(0x0198C0DE << 96) | (7 << 76) | (2 << 62) | number)),
        "source": "tenant",
        "type": type_,
        "subject": f"tenants/{slug}",
        "time": f"2026-11-22T12:00:{number % 60:02d}.{number % 1000:03d}Z",
        "datacontenttype": "application/json",
        "sourceseq": number,
        "requestid": f"request-{number}",
        "data": data,
        **changes,
    }


def _state(slug: str, partner: str | None, version: int) -> dict[str, Any]:
    return {
        "id": f"id-of-{slug}",
        "slug": slug,
        "name": f"Name {version}",
        "plan": "business",
        "cycle": "month",
        "currency": "EUR",
        "seats": 25,
        "domains": [],
        "billing": {"contact": "Erna Muster", "company": "Acme", "address": "Musterweg 1"},
        "partner": partner,
        "status": "active",
        "suspendedReason": None,
        "createdAt": "2026-11-22T12:00:00.000Z",
        "updatedAt": "2026-11-22T12:00:00.000Z",
        "version": version,
    }


def suspended(number: int, **changes: Any) -> dict[str, Any]:
    """An operator, Otto, suspends the tenant."""
    actor = {
        "type": "user",
        "id": OTTO,
        "email": "operator@dezky.local",
        "ip": "198.51.100.9",
        "surface": "operator",
    }
    event = tenant_event(number, "tenant.suspended.v1", **changes)
    event["data"] |= {"actor": actor, "reason": "unpaid"}
    return event


def refused(number: int, **changes: Any) -> dict[str, Any]:
    """The gateway refused an unknown caller."""
    data = {
        "actor": {"type": "external", "id": "unknown", "ip": "192.0.2.66"},
        "action": "gateway.requests_refused",
        "outcome": "denied",
        "resource": {"type": "route", "id": "GET /api/tenants"},
        "route": "GET /api/tenants",
        "code": "unauthenticated",
        "count": 3,
        "since": "2026-11-22T12:00:00Z",
        "until": "2026-11-22T12:00:59Z",
    }
    event = tenant_event(number, "gateway.requests_refused.v1", source="gateway", subject="routes/x")
    return event | {"data": data, **changes}


def registered(number: int) -> dict[str, Any]:
    """Otto signs in for the first time, as seen by Jane (nonsense as a story, two owners as data)."""
    event = tenant_event(number, "user.registered.v1", subject=f"users/{OTTO}")
    event["data"] |= {
        "resource": {"type": "user", "id": OTTO, "name": "Otto Operator"},
        "state": {
            "id": OTTO,
            "email": "otto@dezky.local",
            "name": "Otto Operator",
            "platformAdmin": True,
            "partner": None,
            "tenants": {},
            "status": "active",
            "createdAt": "2026-11-22T12:00:00.000Z",
            "version": 1,
        },
        "changes": {"email": {"before": None, "after": "otto@dezky.local"}},
    }
    return event


def encode(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def type_of(payload: bytes) -> str:
    """The type that the subject of a well-behaved publisher names."""
    try:
        return str(json.loads(payload)["type"])
    except (ValueError, KeyError, TypeError):
        return "tenant.updated.v1"
