"""A tenant and its transitions: pure functions of the model and the time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import idna

from shared.contracts.tenant import BillingContact, Cycle, DomainState, TenantChanges, TenantState, TenantStatus
from shared.errors import Conflict, Invalid

MAX_SEATS = 100_000
MAX_DOMAINS = 50

RESERVED_SLUGS = frozenset(
    """
    about account admin administrator api app apps assets audit auth authentik billing blog cdn collabora console
    dashboard demo dev dezky docs download email files flags ftp gateway health help imap info internal invoices
    login logout mail me metrics mta-sts new null office ocis ops operator owncloud partner partners payouts portal
    postmaster pricing prices root security signin signup smtp stalwart static status stripe suite support system
    tenant tenants test undefined user users webhook webhooks webmail www
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is no easier to read
)
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,38})[a-z0-9]")
_WORDS = re.compile(r"[^\W_]+")


class SlugTaken(Conflict):
    code, title = "slug_taken", "A tenant with this slug exists or existed"


class DomainTaken(Conflict):
    code, title = "domain_taken", "A domain belongs to another tenant"


class PartnerNotActive(Conflict):
    code, title = "partner_not_active", "The partner takes no new tenants now"


class WrongStatus(Conflict):
    code, title = "wrong_status", "The tenant's status does not allow this"


def parse_slug(text: str, field_name: str = "slug") -> str:
    """Return ``text`` if it is a slug: 3 to 40 of a-z, 0-9 and inner hyphens, and no reserved word.

    Raises:
        Invalid: it is not; the error names ``field_name``.
    """
    if not _SLUG.fullmatch(text):
        raise Invalid.field(field_name, "bad_slug", "use 3 to 40 of a-z, 0-9 and hyphens, no hyphen at either end")
    if text in RESERVED_SLUGS:
        raise Invalid.field(field_name, "reserved_slug", f"{text!r} is reserved: choose another")
    if text.startswith("xn--"):
        raise Invalid.field(field_name, "bad_slug", "must not start with xn--: that is an encoded name")
    return text


def parse_domain(text: str, field_name: str) -> str:
    """Return a mail domain in its ASCII form (IDNA 2008, RFC 5891).

    Raises:
        Invalid: no registrable-looking domain: one label, a trailing dot, an address, or not IDNA.
    """
    try:
        name = idna.encode(text, uts46=True, std3_rules=True).decode()
    except idna.IDNAError as error:
        raise Invalid.field(field_name, "bad_domain", f"is no domain name: {error}") from error
    labels = name.split(".")
    if text.endswith(".") or len(labels) < 2 or labels[-1].isdigit():
        raise Invalid.field(field_name, "bad_domain", "write a domain like acme.example, without a dot at its end")
    return name


def words_of(*texts: str) -> list[str]:
    """Return the folded words of ``texts``: what a search by prefix looks in."""
    return sorted({word for text in texts for word in _WORDS.findall(text.casefold())})


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of a partner. ``version`` counts the committed changes, from 1."""

    id: str
    slug: str
    name: str
    plan: str
    cycle: Cycle
    currency: str
    seats: int
    partner: str | None
    status: TenantStatus
    created_at: datetime
    updated_at: datetime
    version: int = 1
    domains: tuple[DomainState, ...] = ()
    billing: BillingContact = field(default_factory=BillingContact)
    suspended_reason: str | None = None

    def suspend(self, reason: str, at: datetime) -> Tenant:
        """Stop the suite for this tenant; suspending a suspended tenant changes nothing."""
        if self.status == "suspended":
            return self
        if self.status != "active":
            raise WrongStatus(f"only an active tenant can be suspended; this one is {self.status}")
        return self._changed(at, status="suspended", suspended_reason=reason)

    def resume(self, at: datetime) -> Tenant:
        """Undo a suspension; resuming an active tenant changes nothing."""
        if self.status == "active":
            return self
        if self.status != "suspended":
            raise WrongStatus(f"only a suspended tenant can be resumed; this one is {self.status}")
        return self._changed(at, status="active", suspended_reason=None)

    def update(self, at: datetime, **changes: Any) -> Tenant:
        """Take over new values of name, plan, cycle, seats, domains or billing; the same values change nothing.

        Raises:
            WrongStatus: a tenant that is being deleted no longer changes.
        """
        if self.status in {"deleting", "deleted"}:
            raise WrongStatus(f"a tenant that is {self.status} cannot be changed")
        if all(getattr(self, name) == value for name, value in changes.items()):
            return self
        return self._changed(at, **changes)

    def _changed(self, at: datetime, **changes: Any) -> Tenant:
        return replace(self, **changes, updated_at=at, version=self.version + 1)


def one_primary(domains: tuple[DomainState, ...]) -> tuple[DomainState, ...]:
    """Return ``domains`` with exactly one primary: the marked one, or the first.

    Raises:
        Invalid: a domain is given twice, or two are marked.
    """
    names = [domain.name for domain in domains]
    if len(set(names)) != len(names):
        raise Invalid.field("domains", "duplicate_domain", "names each domain once")
    marked = [domain for domain in domains if domain.primary]
    if len(marked) > 1:
        raise Invalid.field("domains", "two_primaries", "mark one domain as primary")
    if domains and not marked:
        return (DomainState(name=domains[0].name, primary=True), *domains[1:])
    return domains


def state_of(tenant: Tenant) -> TenantState:
    """Return the public state that events carry."""
    return TenantState.model_validate({f.name: getattr(tenant, f.name) for f in fields(tenant)})


def changes_between(before: Tenant | None, after: Tenant) -> TenantChanges:
    """Return what differs; against None, everything that ``after`` has."""
    found: dict[str, Any] = {}
    for name in TenantChanges.model_fields:
        old = getattr(before, name) if before is not None else None
        new = getattr(after, name)
        if old != new:
            found[name] = {"before": old, "after": new}
    return TenantChanges.model_validate(found)
