"""What an integration should hold for a tenant, and how far it does: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.tenant.models import Tenant
from services.tenant.people.models import AUTHENTIK, MAY_ACT, Human
from shared.contracts.tenant import ConditionState, ConditionStatus, Integration, TenantStatus
from shared.contracts.user import TenantRoleName

GIB = 1024**3
SPACE_BYTES_PER_SEAT = 10 * GIB
MAILBOX_BYTES = 5 * GIB
ERASED = "Erased"
OPEN: frozenset[TenantStatus] = frozenset({"pending", "active"})
"""Statuses in which a tenant's people use the suite."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at an integration found.

    Attributes:
        gone: of an erasure: how many objects of each kind were there and are seen to be gone.
    """

    status: ConditionStatus
    reason: str
    message: str = ""
    retry_after: int = 0
    gone: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """A finding as it is kept. ``at``: since when the status is what it is."""

    status: ConditionStatus
    reason: str
    message: str
    at: datetime
    observed_generation: int

    def after(self, finding: Finding, generation: int, now: datetime) -> Condition:
        """Return the condition that ``finding`` makes of this one."""
        at = self.at if self.status == finding.status else now
        return Condition(finding.status, finding.reason, finding.message, at, generation)

    def differs(self, other: Condition) -> bool:
        """Tell whether the difference is one that others are told: the status, or what a ready one is ready for."""
        return self.status != other.status or (self.status == "ready" and self.reason != other.reason)

    def for_generation(self, generation: int) -> Condition:
        """Return the condition as it stands for this version of the tenant: an older observation proves nothing."""
        if self.observed_generation >= generation or self.status != "ready":
            return self
        return replace(self, status="pending", reason="Outdated", message="the tenant has changed since")

    def as_state(self) -> ConditionState:
        return ConditionState(
            status=self.status,
            reason=self.reason,
            message=self.message,
            at=self.at,
            observed_generation=self.observed_generation,
        )


Conditions = Mapping[Integration, Condition]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a look at an integration that agreed found: for just what, when, and what an erasure had counted."""

    fingerprint: str
    at: datetime
    reason: str
    gone: Mapping[str, int]

    @property
    def finding(self) -> Finding:
        return Finding("ready", self.reason, gone=self.gone)


def untried(at: datetime) -> Condition:
    """Return the condition of an integration that nobody has looked at."""
    return Condition("pending", "NotTried", "not compared yet", at, 0)


def all_ready(conditions: Iterable[Condition], generation: int) -> bool:
    """Tell whether every integration agrees with this version of the tenant."""
    return all(condition.for_generation(generation).status == "ready" for condition in conditions)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person is entitled to across all their tenants.

    Attributes:
        may_act: invited or active here; the account of anybody else is not provisioning's business.
        suite: some tenant of theirs is open.
        enabled: the account has a use: the suite, or the portal as an admin, or a role elsewhere.
    """

    may_act: bool
    suite: bool
    enabled: bool


def standing_of(human: Human, statuses: Mapping[str, TenantStatus]) -> Standing:
    """Derive it from roles and the statuses of the person's tenants; an unknown tenant gives nothing.

    Whoever administers a suspended tenant keeps the account: they still see their invoices in the portal.
    """
    may_act = human.status in MAY_ACT
    suite = may_act and any(statuses.get(slug) in OPEN for slug in human.tenants)
    elsewhere = human.platform_admin or human.partner is not None or "admin" in human.tenants.values()
    return Standing(may_act, suite, may_act and (suite or elsewhere))


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the tenant who may act."""

    human: Human
    role: TenantRoleName
    standing: Standing

    @property
    def subject(self) -> str:
        """Who they are at Authentik."""
        return next(known.subject for known in self.human.identities if known.identity_provider == AUTHENTIK)


@dataclass(frozen=True, slots=True)
class Leaver:
    """A person, whatever their status, of a tenant that is erased.

    Attributes:
        alone: they have no other place, but perhaps tenants that are erased as well.
        suite: another tenant of theirs is open.
    """

    human: Human
    alone: bool
    suite: bool


@dataclass(frozen=True, slots=True)
class Desired:
    """What the integrations should hold. Two that are equal ask for the same.

    Attributes:
        generation: the tenant's version.
        open: whether its people use the suite now.
        domains: names, the primary first.
        gone: nothing of the tenant may stay.
        barred: people of the tenant who are shut out everywhere.
        leavers: of a tenant that is erased, everybody with a role there.
        erased: ids of people who are remembered somewhere and do not exist any more.
    """

    tenant_id: str
    slug: str
    generation: int
    open: bool
    seats: int
    domains: tuple[str, ...]
    members: tuple[Member, ...]
    gone: bool = False
    barred: tuple[Human, ...] = ()
    leavers: tuple[Leaver, ...] = ()
    erased: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A digest that is the same as long as the same is asked for."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def mark(self) -> str:
        """What objects made for this tenant carry where they can carry a text."""
        return f"dezky tenant {self.tenant_id}"

    @property
    def achieved(self) -> Finding:
        """What is found when everything is as it should be."""
        return Finding("ready", "Provisioned" if self.open else "Proven")

    def erased_with(self, gone: Mapping[str, int]) -> Finding:
        """What is found when nothing of the tenant is left."""
        return Finding("ready", ERASED, gone=gone)


def desired_of(
    tenant: Tenant,
    people: Iterable[Human],
    statuses: Mapping[str, TenantStatus],
    *,
    ending: Collection[str] = (),
    erased: Collection[str] = (),
) -> Desired:
    """Derive it from the tenant and everybody who has a role there; ``ending`` are tenants that are erased."""
    primary = sorted(tenant.domains, key=lambda domain: not domain.primary)
    gone = tenant.erasing or tenant.status == "deleted"
    # Being seen is no change of what should be.
    everybody = [replace(human, last_seen=None) for human in people]
    known = [h for h in everybody if any(one.identity_provider == AUTHENTIK for one in h.identities)]
    return Desired(
        tenant_id=tenant.id,
        slug=tenant.slug,
        generation=tenant.version,
        open=tenant.status in OPEN,
        seats=tenant.seats,
        domains=tuple(domain.name for domain in primary),
        members=()
        if gone
        else tuple(
            Member(human, human.tenants[tenant.slug], standing_of(human, statuses))
            for human in known
            if human.status in MAY_ACT
        ),
        gone=gone,
        barred=tuple(human for human in known if human.status == "inactive"),
        leavers=tuple(_leaver(human, statuses, ending) for human in everybody) if gone else (),
        erased=tuple(sorted(erased)),
    )


def _leaver(human: Human, statuses: Mapping[str, TenantStatus], ending: Collection[str]) -> Leaver:
    stay = [place for place in human.places if place.kind != "tenant" or place.slug not in ending]
    return Leaver(human, alone=not stay, suite=standing_of(human, statuses).suite)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where a person's mail goes: ``local@domain``, and their own address as an alias if that is another."""

    local: str
    domain: str
    alias: tuple[str, str] | None = None


def mailboxes(desired: Desired) -> tuple[dict[str, Mailbox], list[str]]:
    """Return a mailbox for each person whose address is in a domain of the tenant, and who cannot have one.

    It is their name at the primary domain; of two with one name the one at the primary domain has it, and the other
    gets the address that they have. Two people of one address cannot both have it.
    """
    taken: set[tuple[str, str]] = set()
    found: dict[str, Mailbox] = {}
    clashes: list[str] = []

    def own_address(member: Member) -> tuple[str, str]:
        local, _, domain = member.human.email.lower().rpartition("@")
        return local, domain

    theirs = [member for member in desired.members if own_address(member)[1] in desired.domains]
    reserved = {own_address(member) for member in theirs}
    # At the primary domain first, then in the order in which they became known.
    for member in sorted(theirs, key=lambda m: (own_address(m)[1] != desired.domains[0], m.human.id)):
        own = own_address(member)
        if own in taken:
            clashes.append(member.human.id)
            continue
        primary = (own[0], desired.domains[0])
        free = primary == own or primary not in taken | reserved
        taken |= {own, primary} if free else {own}
        alias = own if free and primary != own else None
        found[member.human.id] = Mailbox(*(primary if free else own), alias)
    return found, clashes
