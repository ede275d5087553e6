"""The test kit: a clock that a test moves, keys, and callers with real internal tokens."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.auth import InternalTokenIssuer, PartnerRole, Person, ServicePrincipal, public_key_of
from shared.clock import SystemClock, to_milliseconds
from shared.settings import PublicKey


class ManualClock:
    """Stands still until moved."""

    def __init__(self, at: datetime | None = None) -> None:
        self._now = to_milliseconds(at or datetime(2026, 11, 22, 12, tzinfo=UTC))

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now = to_milliseconds(self._now + by)


def seed_of(process: str) -> bytes:
    """Return the signing seed that tests give to ``process``: fixed, and secret to nobody."""
    return hashlib.sha256(f"test key of {process}".encode()).digest()


def seed_text(process: str) -> str:
    """Return that seed as settings want it."""
    return base64.urlsafe_b64encode(seed_of(process)).rstrip(b"=").decode()


PROCESSES = ("gateway", "tenant", "partner", "billing", "flags", "audit", "health")


def public_keys() -> dict[str, PublicKey]:
    """Return the static key set of a test fleet."""
    return {f"{name}-1": PublicKey(owner=name, x=public_key_of(seed_of(name))) for name in PROCESSES}


class Callers:
    """Makes authorisation headers, signed like the gateway's and the services'."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._clock = SystemClock()

    def headers(self, principal: Person | ServicePrincipal, **more: str) -> dict[str, str]:
        """Return the headers of the inner hop for ``principal``."""
        owner = principal.name if isinstance(principal, ServicePrincipal) else "gateway"
        issuer = InternalTokenIssuer(owner, f"{owner}-1", seed_of(owner), self._clock)
        token = issuer.issue(self._audience, principal)
        return {
            "authorization": f"Bearer {token}",
            "x-dezky-client-ip": "203.0.113.7",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }


def person(**changes: Any) -> Person:
    """Return a portal person without any role, changed as asked."""
    fields: dict[str, Any] = {
        "id": "0198c0de-0000-7000-8000-000000000001",
        "subject": "5f" * 32,
        "email": "jane@nordic.example",
        "name": "Jane Doe",
        "surface": "portal",
    }
    return Person(**{**fields, **changes})


def operator(**changes: Any) -> Person:
    """Return a platform operator on the operator surface."""
    fields: dict[str, Any] = {
        "id": "0198c0de-0000-7000-8000-000000000002",
        "email": "operator@dezky.local",
        "name": "Olga Operator",
        "surface": "operator",
        "groups": ("dezky-platform-admins",),
        "platform_admin": True,
    }
    return person(**{**fields, **changes})


def partner_person(slug: str = "nordic", role: str = "staff", **changes: Any) -> Person:
    """Return somebody of a partner."""
    return person(**{"partner": PartnerRole.model_validate({"slug": slug, "role": role}), **changes})


def tenant_person(slug: str = "acme", role: str = "admin", **changes: Any) -> Person:
    """Return somebody of a tenant."""
    fields = {"id": "0198c0de-0000-7000-8000-000000000003", "tenants": {slug: role}}
    return person(**{**fields, **changes})
