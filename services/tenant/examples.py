"""What clients are told of the routes of tenants, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.tenant.models import DomainTaken, NoPriceForPlan, PartnerNotActive, SlugTaken, WrongStatus
from services.tenant.people import examples as people
from services.tenant.service import TenantSuspendedForMembers
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

_CREATED = "2026-11-22T11:00:00.000Z"
_CHANGED = "2026-11-23T09:30:00.000Z"


def _conditions(status: str, reason: str, message: str = "", generation: int = 2) -> dict[str, Any]:
    names = ("authentik", "stalwart", "ocis")
    one = {"status": status, "reason": reason, "message": message, "at": _CREATED, "observedGeneration": generation}
    return {name: dict(one) for name in names}


TENANT: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000001",
    "slug": "acme",
    "name": "Acme Ltd",
    "plan": "business",
    "cycle": "month",
    "currency": "EUR",
    "seats": 25,
    "domains": [{"name": "acme.example", "primary": True}],
    "billing": {"contact": "accounts@acme.example", "company": "Acme Ltd", "address": "1 Main Street, 1000 Copenhagen"},
    "partner": "nordic",
    "status": "active",
    "suspendedReason": None,
    "createdAt": _CREATED,
    "updatedAt": _CREATED,
    "version": 2,
    "provisioning": _conditions("ready", "Provisioned"),
}
NEW = {
    **TENANT,
    "status": "pending",
    "version": 1,
    "provisioning": _conditions("pending", "NotTried", "not compared yet", 0),
}
SUSPENDED = {**TENANT, "status": "suspended", "suspendedReason": "unpaid", "updatedAt": _CHANGED, "version": 3}

_TENANTS: Operations = {
    "create_tenant": Described(
        text="For people of a partner; the partner is the caller's and is not named. The slug is unique for ever: "
        "it is not free again when the tenant is deleted. `plan`, `cycle` and `currency` must be sold (`GET "
        "/api/prices`). The tenant is `pending` until every backend holds what it needs; `provisioning` says how "
        "far each is.",
        request={
            "slug": "acme",
            "name": "Acme Ltd",
            "plan": "business",
            "cycle": "month",
            "currency": "EUR",
            "seats": 25,
            "domains": [{"name": "acme.example", "primary": True}],
            "billing": {"contact": "accounts@acme.example", "company": "Acme Ltd"},
        },
        answer=NEW,
        refusals=(SlugTaken, DomainTaken, PartnerNotActive, NoPriceForPlan),
        location="/api/tenants/acme",
    ),
    "list_tenants": Described(
        text="Operators see all, a partner's people their customers, others the tenants that they belong to; of those "
        "a plain member sees `slug`, `name`, `plan` and `status`. `counts` holds the tenants per status within "
        "the caller's whole scope, whatever the filters, at most 5 s old.",
        answer={"items": [TENANT], "next": None, "counts": {"active": 11, "suspended": 1}},
    ),
    "read_tenant": Described(
        text="A plain member sees `slug`, `name`, `plan` and `status` only.",
        answer=TENANT,
        refusals=(TenantSuspendedForMembers,),
    ),
    "update_tenant": Described(
        text="Members that are absent stay; `domains` and `billing` are replaced whole. A partner's people and "
        "operators change everything; an admin of the tenant changes `seats` and `billing`. A change that changes "
        "nothing makes no new version.",
        request={"seats": 40, "billing": {"contact": "invoices@acme.example", "company": "Acme Ltd"}},
        answer={
            **TENANT,
            "seats": 40,
            "billing": {"contact": "invoices@acme.example", "company": "Acme Ltd", "address": None},
            "updatedAt": _CHANGED,
            "version": 3,
        },
        refusals=(InsufficientRole, TenantSuspendedForMembers, DomainTaken, WrongStatus, NoPriceForPlan),
    ),
    "suspend_tenant": Described(
        text="A second time is a no-op. The answer does not wait for the backends: `provisioning` says `Proven` for "
        "each once a probe has seen its refusal.",
        request={"reason": "unpaid"},
        answer=SUSPENDED,
        refusals=(WrongStatus,),
    ),
    "resume_tenant": Described(
        text="A second time is a no-op.",
        answer={**TENANT, "updatedAt": _CHANGED, "version": 4},
        refusals=(WrongStatus,),
    ),
    "reconcile_tenant": Described(
        text="What differs is made right; what came of it is in `provisioning` of the tenant.",
        answer=TENANT,
    ),
}

OPERATIONS: Operations = {**_TENANTS, **people.OPERATIONS}
