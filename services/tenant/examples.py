"""What clients are told of the routes of tenants, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.tenant.models import (
    BelongsToPartner,
    DomainTaken,
    NoPriceForPlan,
    PartnerNotActive,
    RestoreTooLate,
    SeatsInUse,
    SlugTaken,
    SlugTooSimilar,
    WrongStatus,
)
from services.tenant.people import examples as people
from services.tenant.provisioning import examples as provisioning
from services.tenant.service import TenantDeletedForMembers, TenantSuspendedForMembers
from services.tenant.transfers import examples as transfers
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
    "ownership": [{"partner": "nordic", "since": _CREATED, "until": None}],
    "detachedUntil": None,
    "detachedOverdue": False,
    "deletion": None,
    "provisioning": _conditions("ready", "Provisioned"),
}
NEW = {
    **TENANT,
    "status": "pending",
    "version": 1,
    "provisioning": _conditions("pending", "NotTried", "not compared yet", 0),
}
SUSPENDED = {**TENANT, "status": "suspended", "suspendedReason": "unpaid", "updatedAt": _CHANGED, "version": 3}
DELETING = {
    **TENANT,
    "status": "deleting",
    "updatedAt": _CHANGED,
    "version": 3,
    "deletion": {
        "requestedAt": _CHANGED,
        "reason": "contract ended",
        "eraseAfter": "2026-12-23T09:30:00.000Z",
        "restoresTo": "active",
        "erasingSince": None,
        "erasedAt": None,
    },
}
DETACHED = {
    **TENANT,
    "partner": None,
    "ownership": [{"partner": "nordic", "since": _CREATED, "until": _CHANGED}],
    "detachedUntil": "2026-12-23T09:30:00.000Z",
    "updatedAt": _CHANGED,
    "version": 3,
}
ATTACHED = {
    **TENANT,
    "partner": "alpine",
    "ownership": [*DETACHED["ownership"], {"partner": "alpine", "since": "2026-11-24T08:00:00.000Z", "until": None}],
    "updatedAt": "2026-11-24T08:00:00.000Z",
    "version": 4,
}

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
        refusals=(SlugTaken, SlugTooSimilar, DomainTaken, PartnerNotActive, NoPriceForPlan),
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
        refusals=(TenantSuspendedForMembers, TenantDeletedForMembers),
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
        refusals=(InsufficientRole, DomainTaken, WrongStatus, SeatsInUse, NoPriceForPlan),
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
        refusals=(WrongStatus,),
    ),
    "delete_tenant": Described(
        text="Nobody uses the tenant from now on, which is proven like a suspension. Until `deletion.eraseAfter` "
        "everything is kept and `…/restore` undoes it; then its data is erased in every backend, and "
        "`…/certificate` says so. The slug is never free again. A second time is a no-op.",
        request={"reason": "contract ended"},
        answer=DELETING,
        refusals=(WrongStatus,),
    ),
    "restore_tenant": Described(
        text="The tenant is what it was before, suspended if it was; a second time is a no-op.",
        answer={**TENANT, "updatedAt": _CHANGED, "version": 4},
        refusals=(RestoreTooLate, WrongStatus),
    ),
    "attach_tenant": Described(
        text="The partner must be active. To its own partner it is a no-op. `ownership` keeps the dates.",
        request={"partner": "alpine"},
        answer=ATTACHED,
        refusals=(BelongsToPartner, PartnerNotActive, WrongStatus),
    ),
    "detach_tenant": Described(
        text="`until` is at most 366 days away; without it the platform's setting decides. The tenant goes on working; "
        "`detachedOverdue` says that it has waited longer. Days without a partner earn nobody anything.",
        request={"until": "2026-12-23T09:30:00.000Z"},
        answer=DETACHED,
        refusals=(WrongStatus,),
    ),
    "list_tenants_of_partner": Described(
        text="For operators and the partner's own people. `counts` holds the partner's tenants per status.",
        answer={"items": [TENANT], "next": None, "counts": {"active": 8}},
    ),
}

OPERATIONS: Operations = {
    **_TENANTS,
    **transfers.OPERATIONS,
    **provisioning.OPERATIONS,
    **people.OPERATIONS,
}
