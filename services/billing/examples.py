"""What clients are told of the routes of billing, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.billing.models import PriceExists, PriceIsArchived
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

_CREATED = "2026-11-01T08:00:00.000Z"

PRICE: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000003",
    "plan": "business",
    "cycle": "month",
    "amounts": {"EUR": 1_250, "DKK": 9_300},
    "archived": False,
    "createdAt": _CREATED,
    "updatedAt": _CREATED,
    "version": 1,
}


def _summary(grouped_by: str, *keys: str) -> dict[str, Any]:
    part = {"mrr": 31_250, "arr": 375_000, "subscriptions": 1, "seats": 25}
    whole = {name: value * len(keys) for name, value in part.items()}
    parts = [{"key": key, **part} for key in keys]
    return {"groupedBy": grouped_by, "currencies": [{"currency": "EUR", **whole, "parts": parts}], "stripe": "off"}


OPERATIONS: Operations = {
    "create_price": Described(
        text="`amounts` are minor units per seat and cycle, by currency.",
        request={"plan": "business", "cycle": "month", "amounts": {"EUR": 1_250, "DKK": 9_300}},
        answer=PRICE,
        refusals=(PriceExists,),
        location="/api/prices/0198c0de-0000-7000-8000-000000000003",
    ),
    "list_prices": Described(
        text="For operators and partners' people. Archived prices are listed, too.",
        answer={"items": [PRICE], "next": None},
        refusals=(InsufficientRole,),
    ),
    "read_price": Described(text="For operators and partners' people.", answer=PRICE, refusals=(InsufficientRole,)),
    "update_price": Described(
        text="Name the currencies to change or add; the others stay. `…/impact` says beforehand what it would mean.",
        request={"amounts": {"EUR": 1_400}},
        answer={
            **PRICE,
            "amounts": {"EUR": 1_400, "DKK": 9_300},
            "updatedAt": "2026-11-23T09:30:00.000Z",
            "version": 2,
        },
        refusals=(PriceIsArchived,),
    ),
    "archive_price": Described(
        text="Live subscriptions stay as they are. A second time is a no-op.",
        answer={**PRICE, "archived": True, "updatedAt": "2026-11-23T09:30:00.000Z", "version": 2},
    ),
    "price_impact": Described(
        text="Changes nothing. Monthly revenue in minor units of `currency`.",
        answer={
            "currency": "EUR",
            "amount": 1_400,
            "subscriptions": 9,
            "tenants": 9,
            "partners": 2,
            "mrrBefore": 281_250,
            "mrrAfter": 315_000,
        },
    ),
    "billing_summary": Described(
        text="By partner for operators, by tenant for everybody else; of a tenant only for its admins. One entry per "
        "currency, which are never added up.",
        answer=_summary("partner", "nordic", "alpine"),
        refusals=(InsufficientRole,),
    ),
    "partner_billing_summary": Described(
        text="For operators and the partner's people.", answer=_summary("tenant", "acme", "globex")
    ),
    "tenant_billing_summary": Described(
        text="For operators, the tenant's partner and its admins. `perSeat` is the snapshot that the subscription "
        "is billed by; `finding` names what is wrong with it (`no_price`). `stripe: off` means that no money moves.",
        answer={
            "subscription": {
                "id": "0198c0de-0000-7000-8000-000000000005",
                "tenantSlug": "acme",
                "partner": "nordic",
                "plan": "business",
                "cycle": "month",
                "currency": "EUR",
                "seats": 25,
                "perSeat": 1_250,
                "status": "active",
                "finding": None,
                "mrr": 31_250,
                "arr": 375_000,
                "startedAt": "2026-11-22T11:00:00.000Z",
                "updatedAt": "2026-11-22T11:00:00.000Z",
                "version": 1,
            },
            "stripe": "off",
        },
        refusals=(InsufficientRole,),
    ),
}
