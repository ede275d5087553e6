"""What the tenant API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from services.tenant.models import MAX_DOMAINS, MAX_SEATS, one_primary
from services.tenant.provisioning.models import Condition
from services.tenant.service import NewTenant, Seen, is_plain_member
from shared.auth import Person
from shared.clock import rfc3339
from shared.contracts.tenant import BillingContact, ConditionStatus, Cycle, DomainState, Integration, TenantStatus
from shared.domains import parse_domain
from shared.errors import Invalid
from shared.schemas import Email, Input, Prose, Text, Timestamp, View
from shared.slugs import parse_slug

PlanKey = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$", description="Key of a plan.")]
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")]
Seats = Annotated[int, Field(ge=1, le=MAX_SEATS)]


class DomainInput(Input):
    name: Annotated[str, Field(max_length=253)]
    primary: bool = False


class BillingInput(Input):
    contact: Email | None = None
    company: Text | None = None
    address: Prose | None = None

    def to_contact(self) -> BillingContact:
        return BillingContact(contact=self.contact, company=self.company, address=self.address)


class CreateTenant(Input):
    """A new tenant; its partner is the caller's and cannot be named."""

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


class UpdateTenant(Input):
    """What to change; absent members stay as they are. ``domains`` and ``billing`` are replaced whole."""

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


class TenantSummary(View):
    """What a plain member sees."""

    slug: str
    name: str
    plan: str
    status: TenantStatus


class TenantView(View):
    """A tenant."""

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
        "provisioning": {name: _condition(condition) for name, condition in seen.conditions.items()},
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "at": rfc3339(condition.at),
        "observedGeneration": condition.observed_generation,
    }
