"""What clients are told of the routes of partners, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.partner.models import PartnerHasCustomers, SlugTaken, TransferTargetNotActive, WrongStatus
from services.partner.reports import examples as reports
from shared.errors import InsufficientRole, NotFound, OperatorTokenRequired
from shared.openapi import Described, Operations

_CREATED = "2026-11-01T08:00:00.000Z"
# For whom there are no partners at all, also a route without a partner in its path answers 404.
_NOT_AN_OPERATOR = (NotFound, OperatorTokenRequired, InsufficientRole)

CONTACT = {"name": "Nina Berg", "email": "nina@nordic.example", "phone": "+4570123456"}
PARTNER: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000004",
    "slug": "nordic",
    "name": "Nordic Cloud",
    "domain": "nordic.example",
    "contact": CONTACT,
    "contract": {
        "startsOn": "2026-11-01",
        "termMonths": 12,
        "margins": [{"since": "2026-11-01", "marginBps": 2_000}],
    },
    "status": "active",
    "suspendedReason": None,
    "termination": None,
    "customerCount": 8,
    "createdAt": _CREATED,
    "updatedAt": _CREATED,
    "version": 1,
}
_ENDING = {"requestedAt": "2026-11-23T09:30:00.000Z", "transferTo": "alpine", "terminatedAt": None}
_ENDED = {**_ENDING, "terminatedAt": "2026-11-23T09:30:00.240Z"}

_PARTNERS: Operations = {
    "create_partner": Described(
        text="The slug is unique for ever. The first margin begins with the contract; each holds until the next.",
        request={
            "slug": "nordic",
            "name": "Nordic Cloud",
            "domain": "nordic.example",
            "contact": CONTACT,
            "contract": PARTNER["contract"],
        },
        answer={**PARTNER, "customerCount": 0},
        refusals=(*_NOT_AN_OPERATOR, SlugTaken),
        location="/api/partners/nordic",
    ),
    "list_partners": Described(
        text="Operators see all, a partner's people their own.",
        answer={"items": [PARTNER], "next": None},
        refusals=(NotFound,),
    ),
    "read_partner": Described(
        text="`customerCount` counts the tenants that are not deleted, as of now; it moves without a new version.",
        answer=PARTNER,
    ),
    "change_partner": Described(
        text="Absent means unchanged, null clears (RFC 7396). Of `contract.margins` name those to add or change: "
        "`since` is today (UTC) or later, `marginBps: null` takes back one that was to begin then. The past is "
        "never rewritten.",
        request={"name": "Nordic Cloud ApS", "contract": {"margins": [{"since": "2027-01-01", "marginBps": 2_500}]}},
        answer={
            **PARTNER,
            "name": "Nordic Cloud ApS",
            "contract": {
                **PARTNER["contract"],
                "margins": [{"since": "2026-11-01", "marginBps": 2_000}, {"since": "2027-01-01", "marginBps": 2_500}],
            },
            "updatedAt": "2026-11-23T09:30:00.000Z",
            "version": 2,
        },
        refusals=(*_NOT_AN_OPERATOR, WrongStatus),
    ),
    "suspend_partner": Described(
        text="It keeps its customers and its people keep their access; creates, attaches and transfers to it are "
        "refused. A second time is a no-op.",
        request={"reason": "under review"},
        answer={**PARTNER, "status": "suspended", "suspendedReason": "under review", "version": 2},
        refusals=(*_NOT_AN_OPERATOR, WrongStatus),
    ),
    "resume_partner": Described(
        text="A second time is a no-op.", answer={**PARTNER, "version": 3}, refusals=(*_NOT_AN_OPERATOR, WrongStatus)
    ),
    "terminate_partner": Described(
        text="From the first moment no customer can come any more; then the tenant service counts. None: 200, "
        "`terminated`. Some: 409, and the partner is what it was before. No answer within a few seconds: 202, "
        "`terminating`, and the same request later says what came of it. `transferTo` names an active partner that "
        "takes over all customers.",
        request={"transferTo": "alpine"},
        answer={**PARTNER, "status": "terminated", "customerCount": 0, "termination": _ENDED, "version": 3},
        others={202: {**PARTNER, "status": "terminating", "termination": _ENDING, "version": 2}},
        refusals=(*_NOT_AN_OPERATOR, PartnerHasCustomers, TransferTargetNotActive, WrongStatus),
    ),
}

OPERATIONS: Operations = {**_PARTNERS, **reports.OPERATIONS}
