"""What the partner API takes and gives."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from services.partner.models import (
    KEPT,
    MAX_BPS,
    MAX_MARGINS,
    MAX_TERM_MONTHS,
    MarginChange,
    Overview,
    PartnerChange,
    new_contract,
)
from services.partner.service import NewPartner
from shared.contracts.partner import ContactState, MarginState, PartnerStatus, TerminationState
from shared.domains import parse_domain
from shared.schemas import Email, Input, Prose, Text, Timestamp, View
from shared.slugs import parse_slug

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SEPARATORS = str.maketrans("", "", " -.")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def _date(value: object) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("must be a date like 2026-12-01")
    return date.fromisoformat(value)


def _phone(text: str) -> str:
    number = text.translate(_SEPARATORS)
    if not _E164.fullmatch(number):
        raise ValueError("must be an international number like +45 70 12 34 56")
    return number


Day = Annotated[date, BeforeValidator(_date), Field(ge=date(2000, 1, 1), le=date(2199, 12, 31))]
"""An ISO 8601 calendar date, in UTC."""

Phone = Annotated[str, StringConstraints(max_length=40), AfterValidator(_phone)]
"""A telephone number, kept in the form of ITU-T E.164: ``+4570123456``."""

DomainName = Annotated[str, Field(max_length=253, description="Internationalised names are kept in ASCII form.")]
MarginBps = Annotated[int, Field(ge=0, le=MAX_BPS, description="Basis points of the revenue.")]
TermMonths = Annotated[int, Field(ge=1, le=MAX_TERM_MONTHS)]


class ContactInput(Input):
    name: Text | None = None
    email: Email | None = None
    phone: Phone | None = None


class MarginInput(Input):
    since: Day
    margin_bps: MarginBps


class ContractInput(Input):
    """``margins``: the first begins with the contract; each holds until the next."""

    starts_on: Day
    term_months: TermMonths
    margins: Annotated[list[MarginInput], Field(min_length=1, max_length=MAX_MARGINS)]


class CreatePartner(Input):
    """A new partner."""

    slug: Annotated[str, Field(max_length=64)]
    name: Text
    domain: DomainName | None = None
    contact: ContactInput = Field(default_factory=ContactInput)
    contract: ContractInput

    def to_command(self) -> NewPartner:
        """Parse what a schema cannot say.

        Raises:
            Invalid: slug, domain or margins, naming the field.
        """
        return NewPartner(
            slug=parse_slug(self.slug),
            name=self.name,
            domain=None if self.domain is None else parse_domain(self.domain, "domain"),
            contact=ContactState(**self.contact.model_dump()),
            contract=new_contract(
                self.contract.starts_on.isoformat(),
                self.contract.term_months,
                [MarginState(since=m.since.isoformat(), margin_bps=m.margin_bps) for m in self.contract.margins],
            ),
        )


class MarginChangeInput(Input):
    """A margin from ``since`` on; null takes back one that was to begin then."""

    since: Day
    margin_bps: MarginBps | None


class ContractChangeInput(Input):
    """``margins``: those to add or change; all others stay. A change begins today (UTC) or later."""

    margins: Annotated[list[MarginChangeInput], Field(max_length=MAX_MARGINS)] = Field(default_factory=list)


class ChangePartner(Input):
    """What to change: absent means unchanged, null clears (RFC 7396)."""

    # A default that is made is in no schema: the field may be absent, but not null.
    name: Text = Field(default_factory=str)
    domain: DomainName | None = None
    contact: ContactInput | None = None
    contract: ContractChangeInput = Field(default_factory=ContractChangeInput)

    def to_command(self) -> PartnerChange:
        """Parse what a schema cannot say.

        Raises:
            Invalid: domain, naming the field.
        """
        given = self.model_fields_set
        contact: dict[str, str | None] = {}
        if "contact" in given:
            contact = (self.contact or ContactInput()).model_dump(exclude_unset=self.contact is not None)
        domain = None if self.domain is None else parse_domain(self.domain, "domain")
        return PartnerChange(
            name=self.name if "name" in given else None,
            domain=domain if "domain" in given else KEPT,
            contact=contact,
            margins=tuple(MarginChange(m.since.isoformat(), m.margin_bps) for m in self.contract.margins),
        )


class SuspendPartner(Input):
    """Why a partner takes no new customers."""

    reason: Prose


class TerminatePartner(Input):
    """``transferTo``: the partner that takes over all customers; without it there must be none."""

    transfer_to: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class ContactView(View):
    name: str | None
    email: str | None
    phone: str | None


class MarginView(View):
    since: date
    margin_bps: int


class ContractView(View):
    starts_on: date
    term_months: int
    margins: list[MarginView]


class TerminationView(View):
    """How the end of a partner stands."""

    requested_at: Timestamp
    transfer_to: str | None
    terminated_at: Timestamp | None


class PartnerView(View):
    """A partner; ``customerCount`` is as of now and moves without a new version."""

    id: str
    slug: str
    name: str
    domain: str | None
    contact: ContactView
    contract: ContractView
    status: PartnerStatus
    suspended_reason: str | None
    termination: TerminationView | None
    customer_count: int
    created_at: Timestamp
    updated_at: Timestamp
    version: int


class PartnerList(View):
    """A page of partners by slug."""

    items: list[PartnerView]
    next: str | None


def view_of(seen: Overview) -> PartnerView:
    """Return a partner as the API shows it."""
    partner = seen.partner
    return PartnerView(
        id=partner.id,
        slug=partner.slug,
        name=partner.name,
        domain=partner.domain,
        contact=ContactView(**partner.contact.model_dump()),
        contract=ContractView.model_validate(partner.contract.model_dump()),
        status=partner.status,
        suspended_reason=partner.suspended_reason,
        termination=None if partner.termination is None else _termination(partner.termination),
        customer_count=seen.customers,
        created_at=partner.created_at,
        updated_at=partner.updated_at,
        version=partner.version,
    )


def _termination(termination: TerminationState) -> TerminationView:
    return TerminationView.model_validate(termination.model_dump(include=set(TerminationView.model_fields)))
