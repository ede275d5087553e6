"""The small world that the examples of events speak of: one of each, as it is before anything happens to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.contracts.billing import PriceState, SubscriptionState
from shared.contracts.flag import FlagScopeState, FlagState
from shared.contracts.partner import (
    ContactState,
    ContractState,
    MarginState,
    PartnerState,
    SavedReportState,
    TerminationState,
)
from shared.contracts.session import SessionState
from shared.contracts.tenant import (
    BillingContact,
    ConditionState,
    DeletionState,
    DomainState,
    DriftState,
    OwnershipState,
    ProvisioningState,
    TenantState,
    TransferState,
    UsageState,
)
from shared.contracts.user import UserState

S = TypeVar("S", bound=BaseModel)

_IDS = iter(f"0198c0de-0000-7000-8000-{number:012d}" for number in range(1, 11))
TENANT_ID, PERSON_ID, PRICE_ID, PARTNER_ID, SUBSCRIPTION_ID = (next(_IDS) for _ in range(5))
OPERATOR_ID, OWNER_ID, TRANSFER_ID, REPORT_ID, SESSION_ID = (next(_IDS) for _ in range(5))
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def moment(text: str) -> datetime:
    """A time as events write it."""
    return datetime.fromisoformat(text).astimezone(UTC)


_BEFORE = moment("2026-11-01T08:00:00.000Z")
_CREATED = moment("2026-11-22T11:00:00.000Z")
_CHANGED = moment("2026-11-23T09:30:00.000Z")
_ERASABLE = moment("2026-12-23T09:30:00.000Z")


def later(state: S, /, **changes: Any) -> S:
    """The next version of a state."""
    version = getattr(state, "version", 0) + 1
    changed = {"updated_at": _CHANGED} if "updated_at" in type(state).model_fields else {}
    return type(state).model_validate({**dict(state), **changed, **changes, "version": version})


TENANT = TenantState(
    id=TENANT_ID,
    slug="acme",
    name="Acme Ltd",
    plan="business",
    cycle="month",
    currency="EUR",
    seats=25,
    domains=(DomainState(name="acme.example", primary=True),),
    billing=BillingContact(contact="accounts@acme.example", company="Acme Ltd"),
    partner="nordic",
    status="active",
    created_at=_CREATED,
    updated_at=_CREATED,
    version=2,
    ownership=(OwnershipState(partner="nordic", since=_CREATED),),
)
ENDED_OWNERSHIP = (OwnershipState(partner="nordic", since=_CREATED, until=_CHANGED),)
NEXT_OWNERSHIP = (*ENDED_OWNERSHIP, OwnershipState(partner="alpine", since=_CHANGED))
DELETION = DeletionState(requested_at=_CHANGED, reason="contract ended", erase_after=_ERASABLE, restores_to="active")
ERASING = DELETION.model_copy(update={"erasing_since": _ERASABLE})
ERASED = ERASING.model_copy(update={"erased_at": moment("2026-12-23T09:30:04.512Z")})
USAGE_BEFORE = UsageState(
    tenant_id=TENANT_ID, slug="acme", partner="nordic", seats_used=12, last_sign_in_on="2026-11-22", version=1
)
USAGE = later(USAGE_BEFORE, last_sign_in_on="2026-11-23")
TRANSFER = TransferState(
    id=TRANSFER_ID,
    tenant="acme",
    to_partner="alpine",
    status="open",
    opened_at=_CREATED,
    expires_at=moment("2026-12-22T11:00:00.000Z"),
    version=1,
)
PROVISIONING = ProvisioningState(
    tenant_id=TENANT_ID,
    slug="acme",
    conditions={
        "ocis": ConditionState(status="ready", reason="Provisioned", message="", at=_CREATED, observed_generation=2)
    },
    version=4,
)
DRIFT = DriftState(integration="ocis", kind="space-quota", object="acme")
PERSON = UserState(
    id=PERSON_ID,
    email="jane@acme.example",
    name="Jane Doe",
    platform_admin=False,
    partner=None,
    tenants={"acme": "member"},
    status="invited",
    created_at=_CREATED,
    version=2,
)
PARTNER = PartnerState(
    id=PARTNER_ID,
    slug="nordic",
    name="Nordic Cloud",
    domain="nordic.example",
    contact=ContactState(name="Nina Berg", email="nina@nordic.example", phone="+4570123456"),
    contract=ContractState(
        starts_on="2026-11-01", term_months=12, margins=(MarginState(since="2026-11-01", margin_bps=2_000),)
    ),
    status="active",
    created_at=_BEFORE,
    updated_at=_BEFORE,
    version=1,
)
TERMINATION = TerminationState(requested_at=_CHANGED, transfer_to=None)
TERMINATED = TERMINATION.model_copy(update={"terminated_at": moment("2026-11-23T09:30:00.240Z")})
REPORT = SavedReportState(id=REPORT_ID, partner="nordic", name="Seats by plan", dataset="customers", version=1)
PRICE = PriceState(
    id=PRICE_ID,
    plan="business",
    cycle="month",
    amounts={"EUR": 1_250},
    archived=False,
    created_at=_BEFORE,
    updated_at=_BEFORE,
    version=1,
)
SUBSCRIPTION = SubscriptionState(
    id=SUBSCRIPTION_ID,
    tenant_id=TENANT_ID,
    tenant_slug="acme",
    partner="nordic",
    plan="business",
    cycle="month",
    currency="EUR",
    seats=25,
    per_seat=1_250,
    arr=375_000,
    mrr=31_250,
    status="active",
    finding=None,
    started_at=_CREATED,
    updated_at=_CREATED,
    version=1,
)
FLAG = FlagState(
    key="oci_versioning",
    description="Versions of files in the suite",
    state="off",
    pct=0,
    scope=FlagScopeState(),
    created_at=_BEFORE,
    updated_at=_BEFORE,
    version=1,
)
SESSION = SessionState(
    id=SESSION_ID,
    surface="portal",
    person_id=PERSON_ID,
    started_at=_CREATED,
    ends_at=moment("2026-11-22T23:00:00.000Z"),
)
