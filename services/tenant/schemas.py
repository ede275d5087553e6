"""What the tenant API takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from services.tenant.models import MAX_DOMAINS, MAX_SEATS, one_primary
from services.tenant.provisioning.models import Condition
from services.tenant.records import Seen
from services.tenant.service import NewTenant, is_plain_member
from shared.auth import Person
from shared.clock import rfc3339
from shared.contracts.tenant import (
    BillingContact,
    ConditionStatus,
    Cycle,
    DeletionState,
    DomainState,
    Integration,
    TenantStatus,
)
from shared.domains import parse_domain
from shared.errors import Invalid
from shared.schemas import Email, GivenMoment, Input, Prose, Text, Timestamp, View
from shared.slugs import parse_slug

PlanKey = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$", description="Key of a plan.")]
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")]
Seats = Annotated[int, Field(ge=1, le=MAX_SEATS)]


SlugText = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$", description="Slug.")]


class Guarded(Input):
    """A body that says of some members, by name, why they cannot be given."""

    not_yours: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _say_why(cls, given: Any) -> Any:
        named = [name for name in cls.not_yours if isinstance(given, dict) and name in given]
        if named:
            wrong = [
                InitErrorDetails(type=PydanticCustomError("not_settable", cls.not_yours[name]), loc=(name,), input="")
                for name in named
            ]
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return given


class DomainInput(Input):
    name: Annotated[str, Field(max_length=253)]
    primary: bool = False


class BillingInput(Input):
    contact: Email | None = None
    company: Text | None = None
    address: Prose | None = None

    def to_contact(self) -> BillingContact:
        return BillingContact(contact=self.contact, company=self.company, address=self.address)


class CreateTenant(Guarded):
    """A new tenant; its partner is the caller's and cannot be named."""

    not_yours: ClassVar[Mapping[str, str]] = {"partner": "is yours and cannot be named", "status": "begins by itself"}

    slug: Annotated[str, Field(max_length=64)]
    name: Text
    plan: PlanKey
    cycle: Cycle = "month"
    currency: CurrencyCode = "EUR"
    seats: Seats
    domains: Annotated[list[DomainInput], Field(max_length=MAX_DOMAINS)] = Field(default_factory=list)
    billing: BillingInput = Field(default_factory=BillingInput)

    def to_command(self) -> NewTenant:
        """Parse what a schema cannot say.

        Raises:
            Invalid: slug or domain, naming the field.
        """
        return NewTenant(
            slug=parse_slug(self.slug),
            name=self.name,
            plan=self.plan,
            cycle=self.cycle,
            currency=self.currency,
            seats=self.seats,
            domains=domains_of(self.domains),
            billing=self.billing.to_contact(),
        )


class UpdateTenant(Guarded):
    """What to change; absent members stay as they are. ``domains`` and ``billing`` are replaced whole."""

    not_yours: ClassVar[Mapping[str, str]] = {
        "currency": "is fixed since the tenant was created",
        "slug": "never changes",
        "partner": "an operator attaches and detaches, a partner asks for a transfer",
        "status": "suspend, resume, delete or restore the tenant",
    }

    name: Text | None = None
    plan: PlanKey | None = None
    cycle: Cycle | None = None
    seats: Seats | None = None
    domains: Annotated[list[DomainInput], Field(max_length=MAX_DOMAINS)] | None = None
    billing: BillingInput | None = None

    def to_changes(self) -> dict[str, object]:
        """Return the new values by name of the field.

        Raises:
            Invalid: a member is null, or a domain is none.
        """
        changes: dict[str, object] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if value is None:
                raise Invalid.field(name, "null", "leave the member out to keep its value")
            changes[name] = value
        if self.domains is not None:
            changes["domains"] = domains_of(self.domains)
        if self.billing is not None:
            changes["billing"] = self.billing.to_contact()
        return changes


def domains_of(given: list[DomainInput]) -> tuple[DomainState, ...]:
    """Return domains in ASCII form, one of them primary.

    Raises:
        Invalid: naming the field.
    """
    named = enumerate(given)
    return one_primary(
        tuple(DomainState(name=parse_domain(d.name, f"domains.{i}.name"), primary=d.primary) for i, d in named)
    )


class SuspendTenant(Input):
    reason: Prose


class DeleteTenant(Input):
    reason: Prose | None = None


class AttachTenant(Input):
    partner: SlugText


class DetachTenant(Input):
    """``until``: how long the tenant waits for a new partner."""

    until: GivenMoment | None = None


class DomainView(View):
    name: str
    primary: bool


class BillingView(View):
    contact: str | None
    company: str | None
    address: str | None


class ConditionView(View):
    """How far one integration agrees; ``at``: since when the status is what it is."""

    status: ConditionStatus
    reason: str
    message: str
    at: Timestamp
    observed_generation: int


class OwnershipView(View):
    """A partner's time with the tenant; ``until`` is null while it lasts."""

    partner: str
    since: Timestamp
    until: Timestamp | None


class DeletionView(View):
    """How far a deletion is; until ``eraseAfter``, and until ``erasingSince`` is said, it can be undone."""

    requested_at: Timestamp
    reason: str | None
    erase_after: Timestamp
    restores_to: TenantStatus
    erasing_since: Timestamp | None
    erased_at: Timestamp | None


class TenantSummary(View):
    """What a plain member sees."""

    slug: str
    name: str
    plan: str
    status: TenantStatus


class TenantView(View):
    """A tenant.

    ``detachedUntil`` is how long it waits for a partner; ``detachedOverdue`` says that it has waited longer.
    """

    id: str
    slug: str
    name: str
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    domains: list[DomainView]
    billing: BillingView
    partner: str | None
    status: TenantStatus
    suspended_reason: str | None
    created_at: Timestamp
    updated_at: Timestamp
    version: int
    ownership: list[OwnershipView]
    detached_until: Timestamp | None
    detached_overdue: bool
    deletion: DeletionView | None
    provisioning: dict[Integration, ConditionView]


class TenantList(View):
    """A page of tenants by slug; ``counts`` are per status over the caller's whole scope, at most 5 s old."""

    items: list[TenantView | TenantSummary]
    next: str | None
    counts: dict[str, int]


def view_of(seen: Seen, reader: Person) -> dict[str, Any]:
    """Return what ``reader`` may see of a tenant in their scope, as JSON."""
    tenant = seen.tenant
    if is_plain_member(reader, tenant):
        return {"slug": tenant.slug, "name": tenant.name, "plan": tenant.plan, "status": tenant.status}
    return full_view(seen)


def full_view(seen: Seen) -> dict[str, Any]:
    """Return all of a tenant as the members of ``TenantView``.

    A page of a hundred of them is rendered as it is: a model each, checked and taken apart again, costs more than
    reading them from the database.
    """
    tenant = seen.tenant
    billing = tenant.billing
    return {
        "id": tenant.id,
        "slug": tenant.slug,
        "name": tenant.name,
        "plan": tenant.plan,
        "cycle": tenant.cycle,
        "currency": tenant.currency,
        "seats": tenant.seats,
        "domains": [{"name": domain.name, "primary": domain.primary} for domain in tenant.domains],
        "billing": {"contact": billing.contact, "company": billing.company, "address": billing.address},
        "partner": tenant.partner,
        "status": tenant.status,
        "suspendedReason": tenant.suspended_reason,
        "createdAt": rfc3339(tenant.created_at),
        "updatedAt": rfc3339(tenant.updated_at),
        "version": tenant.version,
        "ownership": [
            {"partner": past.partner, "since": rfc3339(past.since), "until": _at(past.until)}
            for past in tenant.ownership
        ],
        "detachedUntil": _at(tenant.detached_until),
        "detachedOverdue": seen.overdue,
        "deletion": None if tenant.deletion is None else _deletion(tenant.deletion),
        "provisioning": {name: _condition(condition) for name, condition in seen.conditions.items()},
    }


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _deletion(deletion: DeletionState) -> dict[str, Any]:
    return {
        "requestedAt": rfc3339(deletion.requested_at),
        "reason": deletion.reason,
        "eraseAfter": rfc3339(deletion.erase_after),
        "restoresTo": deletion.restores_to,
        "erasingSince": _at(deletion.erasing_since),
        "erasedAt": _at(deletion.erased_at),
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "at": rfc3339(condition.at),
        "observedGeneration": condition.observed_generation,
    }
