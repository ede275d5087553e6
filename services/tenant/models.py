"""A tenant and its transitions: pure functions of the model and the time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from shared.contracts.envelope import changes_of
from shared.contracts.tenant import (
    BillingContact,
    Cycle,
    DeletionState,
    DomainState,
    OwnershipState,
    TenantChanges,
    TenantState,
    TenantStatus,
)
from shared.errors import Conflict, Invalid

MAX_SEATS = 100_000
MAX_DOMAINS = 50


class SlugTaken(Conflict):
    code, title = "slug_taken", "A tenant with this slug exists or existed"


class DomainTaken(Conflict):
    code, title = "domain_taken", "A domain belongs to another tenant"


class PartnerNotActive(Conflict):
    code, title = "partner_not_active", "The partner takes no new tenants now"


class NoPriceForPlan(Invalid):
    code, title = "no_price_for_plan", "The catalog does not sell this"


class WrongStatus(Conflict):
    code, title = "wrong_status", "The tenant's status does not allow this"


class SlugTooSimilar(Conflict):
    code, title = "slug_too_similar", "The slug looks like that of another tenant"


class SeatsInUse(Conflict):
    code, title = "seats_in_use", "More seats are taken than would be left"


class RestoreTooLate(Conflict):
    code, title = "restore_too_late", "The erasure of the tenant has begun"


class BelongsToPartner(Conflict):
    code, title = "belongs_to_partner", "The tenant has a partner"


class NoPartner(Conflict):
    code, title = "no_partner", "The tenant has no partner"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of a partner. ``version`` counts the committed changes, from 1.

    ``docs/tenant-lifecycle.md`` draws the statuses and says who may move a tenant between them.
    """

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
    ownership: tuple[OwnershipState, ...] = ()
    detached_until: datetime | None = None
    deletion: DeletionState | None = None

    def activate(self, at: datetime) -> Tenant:
        """Open a new tenant once every integration is ready for it; activating an active tenant changes nothing."""
        if self.status == "active":
            return self
        if self.status != "pending":
            raise WrongStatus(f"only a pending tenant can become active; this one is {self.status}")
        return self._changed(at, status="active")

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

    def delete(self, reason: str | None, erase_after: datetime, at: datetime) -> Tenant:
        """Shut the tenant until it is restored or erased; deleting a tenant that is being deleted changes nothing.

        Raises:
            WrongStatus: it is deleted already.
        """
        if self.status == "deleting":
            return self
        if self.status == "deleted":
            raise WrongStatus("the tenant is deleted already")
        deletion = DeletionState(
            requested_at=at, reason=reason, erase_after=max(erase_after, at), restores_to=self.status
        )
        return self._changed(at, status="deleting", deletion=deletion)

    def restore(self, at: datetime) -> Tenant:
        """Undo a deletion; restoring a tenant that is not being deleted changes nothing.

        Raises:
            RestoreTooLate: its data is being erased. WrongStatus: it is deleted.
        """
        if self.status == "deleted":
            raise WrongStatus("the tenant is deleted: its data is gone, and its slug is never used again")
        if self.deletion is None:
            return self
        if self.deletion.erasing_since is not None:
            raise RestoreTooLate(f"its data is being erased since {self.deletion.erasing_since:%Y-%m-%d %H:%M} UTC")
        return self._changed(at, status=self.deletion.restores_to, deletion=None)

    @property
    def erasing(self) -> bool:
        """Whether the time to restore it is over and nothing of it may stay in any backend."""
        return self.status == "deleting" and self.deletion is not None and self.deletion.erasing_since is not None

    def begin_erasure(self, at: datetime) -> Tenant:
        """Close the way back once the time to restore is over; beginning twice changes nothing.

        Raises:
            WrongStatus: it is not being deleted, or may be restored for a while yet.
        """
        if self.erasing:
            return self
        if self.status != "deleting" or self.deletion is None or at < self.deletion.erase_after:
            raise WrongStatus("only a tenant whose time to be restored is over is erased")
        return self._changed(at, deletion=self.deletion.model_copy(update={"erasing_since": at}))

    def finish_erasure(self, at: datetime) -> Tenant:
        """Forget what is personal and free the domains, after every backend was seen to hold nothing of the tenant.

        Raises:
            WrongStatus: its erasure has not begun.
        """
        if self.deletion is None or not self.erasing:
            raise WrongStatus("only a tenant that is being erased becomes deleted")
        return self._changed(
            at,
            status="deleted",
            domains=(),
            billing=BillingContact(),
            suspended_reason=None,
            deletion=self.deletion.model_copy(update={"erased_at": at}),
        )

    def require_existing(self) -> None:
        """Return while something of the tenant may exist in an integration.

        Raises:
            WrongStatus: it is deleted.
        """
        if self.status == "deleted":
            raise WrongStatus("the tenant is deleted: nothing of it is left to compare")

    def overdue(self, at: datetime) -> bool:
        """Whether the tenant has waited for a partner longer than it should."""
        return self.partner is None and self.detached_until is not None and self.detached_until <= at

    def attach(self, partner: str, at: datetime) -> Tenant:
        """Give a tenant without a partner to one; to its own partner changes nothing.

        Raises:
            BelongsToPartner: to another one. WrongStatus: it is deleted.
        """
        self._require_ownable()
        if self.partner == partner:
            return self
        if self.partner is not None:
            raise BelongsToPartner("detach it first, or let the other partner ask for a transfer")
        return self._owned_by(partner, at, detached_until=None)

    def detach(self, until: datetime, at: datetime) -> Tenant:
        """Take the tenant from its partner; it waits for another until ``until``. A second time changes nothing.

        Raises:
            WrongStatus: it is deleted.
        """
        self._require_ownable()
        if self.partner is None:
            return self
        return self._owned_by(None, at, detached_until=until)

    def transfer(self, partner: str, at: datetime) -> Tenant:
        """Let the tenant pass to ``partner``; to its own partner changes nothing.

        Raises:
            NoPartner: it has none, so it is attached instead. WrongStatus: it is deleted.
        """
        self._require_ownable()
        if self.partner is None:
            raise NoPartner("an operator attaches it")
        if self.partner == partner:
            return self
        return self._owned_by(partner, at, detached_until=None)

    def _require_ownable(self) -> None:
        if self.status == "deleted":
            raise WrongStatus("a deleted tenant keeps the partner that it had")

    def _owned_by(self, partner: str | None, at: datetime, **changes: Any) -> Tenant:
        history = tuple(
            past if past.until is not None else past.model_copy(update={"until": at}) for past in self.ownership
        )
        if partner is not None:
            history = (*history, OwnershipState(partner=partner, since=at))
        return self._changed(at, partner=partner, ownership=history, **changes)

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
    return changes_of(TenantChanges, before, after)
