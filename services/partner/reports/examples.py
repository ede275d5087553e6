"""What clients are told of reports, beside their signatures; ``tests/test_openapi.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.partner.reports.models import ReportNameTaken, TooManySavedReports
from shared.errors import NotFound
from shared.openapi import Described, Operations

_AS_OF = "2026-11-23T09:30:00.000Z"
_FORM = (
    "JSON, or CSV (RFC 4180) for `?format=csv` or `Accept: text/csv`. `asOf` is the time of the newest event in it; "
    "money is billing's, in minor units."
)
_DEFINITION: dict[str, Any] = {
    "dataset": "subscriptions",
    "groupBy": ["plan", "currency"],
    "measures": ["subscriptions", "mrr"],
    "filters": {"status": ["active", "paused"]},
    "range": {"from": "2026-01", "to": "2026-12"},
}
SAVED: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000009",
    "name": "Revenue by plan, this year",
    "definition": _DEFINITION,
    "createdAt": "2026-11-22T11:00:00.000Z",
    "version": 1,
}

OPERATIONS: Operations = {
    "health": Described(
        text="`counts` is of all customers that are not being deleted, whatever the filter; `reasons` are the rules "
        f"that are hit now (`docs/partner-reports.md`). {_FORM}",
        answer={
            "asOf": _AS_OF,
            "counts": {"atRisk": 1, "watch": 2, "healthy": 5},
            "items": [
                {
                    "slug": "acme",
                    "name": "Acme Ltd",
                    "plan": "business",
                    "status": "suspended",
                    "level": "atRisk",
                    "reasons": ["suspended"],
                    "seats": 25,
                    "seatsUsed": 12,
                    "lastSignInOn": "2026-11-22",
                }
            ],
            "next": None,
        },
        csv="slug,name,plan,status,level,reasons,seats,seatsUsed,lastSignInOn\r\n"
        "acme,Acme Ltd,business,suspended,atRisk,suspended,25,12,2026-11-22\r\n",
    ),
    "revenue_by_plan": Described(
        text=f"The plans' months sum to the currency's; currencies are never added up. {_FORM}",
        answer={
            "asOf": _AS_OF,
            "currencies": [
                {
                    "currency": "EUR",
                    "mrr": 31_250,
                    "arr": 375_000,
                    "subscriptions": 1,
                    "seats": 25,
                    "plans": [{"plan": "business", "mrr": 31_250, "arr": 375_000, "subscriptions": 1, "seats": 25}],
                }
            ],
        },
        csv="currency,plan,mrr,arr,subscriptions,seats\r\nEUR,business,31250,375000,1,25\r\n",
    ),
    "top_customers": Described(
        text=_FORM,
        answer={
            "asOf": _AS_OF,
            "currencies": [
                {
                    "currency": "EUR",
                    "mrr": 31_250,
                    "arr": 375_000,
                    "customers": [
                        {
                            "slug": "acme",
                            "name": "Acme Ltd",
                            "plan": "business",
                            "cycle": "month",
                            "seats": 25,
                            "mrr": 31_250,
                            "arr": 375_000,
                        }
                    ],
                }
            ],
        },
        csv="currency,slug,name,plan,cycle,seats,mrr,arr\r\nEUR,acme,Acme Ltd,business,month,25,31250,375000\r\n",
    ),
    "cohorts": Described(
        text=f"`retained` holds, month by month, how many of the cohort were customers at its end. {_FORM}",
        answer={
            "asOf": _AS_OF,
            "cohorts": [
                {
                    "month": "2026-10",
                    "customers": 4,
                    "retained": [{"month": "2026-10", "customers": 4}, {"month": "2026-11", "customers": 3}],
                }
            ],
        },
        csv="cohort,customers,month,retained\r\n2026-10,4,2026-10,4\r\n2026-10,4,2026-11,3\r\n",
    ),
    "list_saved": Described(answer={"items": [SAVED], "next": None}, refusals=(NotFound,)),
    "save_report": Described(
        text="The words of `definition` are a closed list (`docs/partner-reports.md`). The name is unique among the "
        "partner's reports, whatever its capitals.",
        request={"name": SAVED["name"], "definition": _DEFINITION},
        answer=SAVED,
        refusals=(ReportNameTaken, TooManySavedReports),
        location=f"/api/partners/nordic/reports/custom/{SAVED['id']}",
    ),
    "read_saved": Described(answer=SAVED),
    "run_saved": Described(
        text=f"At most 1,000 rows, in the order of `columns`; `complete` says whether those are all. {_FORM}",
        answer={
            "asOf": _AS_OF,
            "name": SAVED["name"],
            "columns": ["plan", "currency", "subscriptions", "mrr"],
            "rows": [["business", "EUR", 1, 31_250]],
            "complete": True,
        },
        csv="plan,currency,subscriptions,mrr\r\nbusiness,EUR,1,31250\r\n",
    ),
}
