"""What clients are told of the routes of people, beside their signatures; ``tests/test_docs.py`` holds it to them."""

from __future__ import annotations

from typing import Any

from services.tenant.authentik import AuthentikError
from services.tenant.models import PartnerNotActive, WrongStatus
from services.tenant.people.erasure.report.examples import OPERATIONS as ERASURE_OPERATIONS
from services.tenant.people.models import (
    AlreadyAMember,
    BelongsElsewhere,
    InAnotherPartner,
    InvitationExpired,
    LastAdmin,
    LastOperator,
    LastOwner,
    NotInvited,
    PersonErased,
    PersonInactive,
    SeatLimitReached,
)
from services.tenant.people.onboarding import AccountNotUsable, IdentityConflict
from services.tenant.people.repository import InviteInProgress
from services.tenant.people.resends import AuthentikNotConfigured
from shared.errors import InsufficientRole
from shared.openapi import Described, Operations

_ID = "0198c0de-0000-7000-8000-000000000002"
_CREATED = "2026-11-22T11:05:00.000Z"
_SEEN = "2026-11-23T08:12:44.201Z"

PERSON: dict[str, Any] = {
    "id": _ID,
    "email": "jane@acme.example",
    "name": "Jane Doe",
    "status": "active",
    "active": True,
    "platformAdmin": False,
    "partner": None,
    "tenants": {"acme": "member"},
    "lastSeen": _SEEN,
    "inviteExpiresAt": None,
    "erasedAt": None,
    "createdAt": _CREATED,
    "version": 3,
    "pending": None,
}
MEMBER: dict[str, Any] = {
    "id": _ID,
    "email": "jane@acme.example",
    "name": "Jane Doe",
    "role": "member",
    "status": "active",
    "lastSeen": _SEEN,
    "inviteExpiresAt": None,
    "version": 3,
    "pending": None,
}
COLLEAGUE = {**MEMBER, "email": "sam@nordic.example", "name": "Sam Lund", "role": "staff"}
INVITED: dict[str, Any] = {
    "userId": _ID,
    "status": "invited",
    "subject": "c9c61a2f8e0b4dd1a8f0d8d5d2f0a1b3",
    "handoff": "temp-password",
    "tempPassword": "Xr7-mQ2_vK9:wHs4",
    "credentialReturned": True,
}
PENDING: dict[str, Any] = {"userId": _ID, "status": "pending", "credentialReturned": False}

_INVITATION = """\
The answer shows exactly one credential, `link` or `tempPassword`, and shows it once: a replay under the same
`Idempotency-Key` says `credentialReturned: true` without it, and `…/resend-invite` makes a new one. `handoff` says
which: `recovery-link`, `temp-password`, `existing` (the person can sign in already) or `none`. Where the identity
provider does not answer in time, the answer is 202 with `status: pending`, and the invitation is finished later,
without a credential."""
_REFUSED_INVITATIONS = (
    *(AlreadyAMember, PersonInactive, InvitationExpired),
    *(InviteInProgress, IdentityConflict, AccountNotUsable),
)
_BY_WHOM_TENANT = "For operators, the tenant's partner and its admins."
_BY_WHOM_PARTNER = "For operators and the partner's owners."

_OF_EVERYBODY: Operations = {
    "read_me": Described(
        text="`surfaces` are those that the caller may sign in on, `surface` is the one of this request. The `ETag` "
        "covers the whole answer: with `If-None-Match` it is 304 while nothing has changed.",
        answer={
            "id": _ID,
            "email": "jane@acme.example",
            "name": "Jane Doe",
            "surface": "portal",
            "surfaces": ["portal"],
            "platformAdmin": False,
            "partner": {"slug": "nordic", "name": "Nordic Cloud", "role": "staff"},
            "tenants": [{"slug": "acme", "name": "Acme Ltd", "status": "active", "role": "member"}],
        },
    ),
    "list_users": Described(
        text="`q` finds prefixes of a word of the name or of the address.",
        answer={"items": [PERSON], "next": None},
    ),
    "read_user": Described(
        text="`pending` says what is in the way while the identity provider does not agree with this record yet.",
        answer=PERSON,
    ),
    "invite_operator": Described(
        text=_INVITATION,
        request={"email": "ops@dezky.example", "name": "Olga Ops"},
        answer=INVITED,
        others={202: PENDING},
        refusals=_REFUSED_INVITATIONS,
    ),
    "resend_invite": Described(
        text="For whoever manages all places of the person; the credential before this one ceases to work.",
        answer=INVITED,
        refusals=(
            *(InsufficientRole, NotInvited, BelongsElsewhere, PersonInactive, AccountNotUsable, IdentityConflict),
            *(InviteInProgress, AuthentikNotConfigured, AuthentikError),
        ),
    ),
    "deactivate_user": Described(
        text="Effective within seconds on both surfaces and in the suite. A second time is a no-op.",
        answer={**PERSON, "status": "inactive", "active": False, "version": 4},
        refusals=(LastOperator, LastOwner, LastAdmin),
    ),
    "reactivate_user": Described(
        text="A second time is a no-op.",
        answer={**PERSON, "version": 5},
        refusals=(SeatLimitReached, PersonErased, InvitationExpired),
    ),
    "erase_user": Described(
        text="For ever: every service forgets the person, their account goes if it is ours, and the log keeps only "
        "what cannot be read any more. A second time is a no-op.",
        answer={
            **PERSON,
            "email": "",
            "name": "",
            "status": "erased",
            "active": False,
            "tenants": {},
            "lastSeen": None,
            "erasedAt": "2026-11-23T09:30:00.000Z",
            "version": 4,
        },
        refusals=(LastOperator, LastOwner, LastAdmin, AuthentikError),
    ),
}
_OF_PARTNERS: Operations = {
    "list_partner_users": Described(
        text="For operators and the partner's own people.", answer={"items": [COLLEAGUE], "next": None}
    ),
    "invite_partner_user": Described(
        text=f"{_BY_WHOM_PARTNER} The first person becomes owner, whatever `role` says.\n\n{_INVITATION}",
        request={"email": "sam@nordic.example", "name": "Sam Lund", "role": "staff"},
        answer=INVITED,
        others={202: PENDING},
        refusals=(InsufficientRole, *_REFUSED_INVITATIONS, InAnotherPartner, PartnerNotActive),
    ),
    "change_partner_role": Described(
        text=_BY_WHOM_PARTNER,
        request={"role": "owner"},
        answer={**COLLEAGUE, "role": "owner", "version": 4},
        refusals=(InsufficientRole, LastOwner),
    ),
    "remove_partner_user": Described(
        text=f"{_BY_WHOM_PARTNER} An invitation that has not taken effect is withdrawn.",
        refusals=(InsufficientRole, LastOwner),
    ),
}
_OF_TENANTS: Operations = {
    "list_tenant_users": Described(
        text=_BY_WHOM_TENANT, answer={"items": [MEMBER], "next": None}, refusals=(InsufficientRole,)
    ),
    "invite_tenant_user": Described(
        text=f"{_BY_WHOM_TENANT}\n\n{_INVITATION}",
        request={"email": "jane@acme.example", "name": "Jane Doe", "role": "member"},
        answer=INVITED,
        others={202: PENDING},
        refusals=(InsufficientRole, *_REFUSED_INVITATIONS, SeatLimitReached, WrongStatus),
    ),
    "change_tenant_role": Described(
        text=_BY_WHOM_TENANT,
        request={"role": "admin"},
        answer={**MEMBER, "role": "admin", "version": 4},
        refusals=(InsufficientRole, LastAdmin),
    ),
    "remove_tenant_user": Described(
        text=f"{_BY_WHOM_TENANT} The seat is free again; what the person has in the suite goes with the role.",
        refusals=(InsufficientRole, LastAdmin),
    ),
    "deactivate_tenant_user": Described(
        text=f"{_BY_WHOM_TENANT} Only for a person without a role elsewhere; otherwise remove the role here.",
        answer={**MEMBER, "status": "inactive", "version": 4},
        refusals=(InsufficientRole, LastAdmin, BelongsElsewhere),
    ),
}

OPERATIONS: Operations = {**_OF_EVERYBODY, **ERASURE_OPERATIONS, **_OF_PARTNERS, **_OF_TENANTS}
