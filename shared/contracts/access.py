"""Refusals of known callers: each service publishes its own, under its own first word."""

from __future__ import annotations

from typing import ClassVar

from shared.contracts.envelope import Event


class AccessDenied(Event):
    """The common body of ``<service>.access_denied.v1``: a known caller asked for what it may not do.

    Attributes:
        operation: method and route, ``POST /api/tenants/{slug}/suspend``.
        code: the problem code that it was answered with.
    """

    summary: ClassVar[str] = "A known caller was refused."

    operation: str
    code: str


class TenantAccessDenied(AccessDenied):
    type: ClassVar[str] = "tenant.access_denied.v1"


class PartnerAccessDenied(AccessDenied):
    type: ClassVar[str] = "partner.access_denied.v1"


class BillingAccessDenied(AccessDenied):
    type: ClassVar[str] = "billing.access_denied.v1"


class FlagsAccessDenied(AccessDenied):
    type: ClassVar[str] = "flag.access_denied.v1"


class AuditAccessDenied(AccessDenied):
    type: ClassVar[str] = "audit.access_denied.v1"


class HealthAccessDenied(AccessDenied):
    type: ClassVar[str] = "health.access_denied.v1"


BY_SERVICE: dict[str, type[AccessDenied]] = {
    "tenant": TenantAccessDenied,
    "partner": PartnerAccessDenied,
    "billing": BillingAccessDenied,
    "flags": FlagsAccessDenied,
    "audit": AuditAccessDenied,
    "health": HealthAccessDenied,
}
