"""A human and their roles: pure functions of the model and the time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from shared.contracts.envelope import changes_of
from shared.contracts.user import (
    PartnerRoleName,
    PartnerRoleState,
    PersonStatus,
    TenantRoleName,
    UserChanges,
    UserState,
)
from shared.errors import Conflict

OPERATOR_GROUP = "dezky-platform-admins"
PARTNER_GROUP = "dezky-partner-staff"
AUTHENTIK = "authentik"

MAY_ACT: tuple[PersonStatus, ...] = ("invited", "active")
"""Statuses in which somebody can sign in; only they count as the last operator, owner or admin."""

HOLDS_A_SEAT: tuple[PersonStatus, ...] = ("inviting", "invited", "active")
"""Statuses in which somebody takes a seat wherever they have a role at a tenant."""


class AlreadyAMember(Conflict):
    code, title = "already_a_member", "This person has a role there already"


class InAnotherPartner(Conflict):
    code, title = "in_another_partner", "This person belongs to another partner"


class PersonInactive(Conflict):
    code, title = "person_inactive", "This person is deactivated"


class BelongsElsewhere(Conflict):
    code, title = "belongs_elsewhere", "This person has a role elsewhere"


class NotInvited(Conflict):
    code, title = "not_invited", "Only somebody who was invited and has not come yet gets a new credential"


class InvitationExpired(Conflict):
    code, title = "invitation_expired", "This person was invited elsewhere and did not come in time"


class PersonErased(Conflict):
    code, title = "person_erased", "This person was erased"


class SeatLimitReached(Conflict):
    code, title = "seat_limit_reached", "Every seat of the tenant is taken"


class LastOperator(Conflict):
    code, title = "last_operator", "The platform keeps at least one operator"


class LastOwner(Conflict):
    code, title = "last_owner", "A partner keeps at least one owner"


class LastAdmin(Conflict):
    code, title = "last_admin", "A tenant keeps at least one admin"


PlaceKind = Literal["platform", "partner", "tenant"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody has a role: the platform, a partner or a tenant. ``slug`` is empty for the platform."""

    kind: PlaceKind
    slug: str = ""

    @property
    def key(self) -> str:
        """A stable name: what is done to the roles of one place is done one after the other."""
        return f"{self.kind}:{self.slug}"

    @property
    def crown(self) -> str:
        """The role that the place never runs out of."""
        return {"platform": "operator", "partner": "owner", "tenant": "admin"}[self.kind]


PLATFORM = Place("platform")
LAST: dict[PlaceKind, type[Conflict]] = {"platform": LastOperator, "partner": LastOwner, "tenant": LastAdmin}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a person is for one identity provider. The pair is unique; an e-mail address never links anybody."""

    identity_provider: str
    subject: str


@dataclass(frozen=True, slots=True)
class Human:
    """One record per human. ``version`` counts the committed changes of what others rely on.

    Attributes:
        account: the identity provider's own number of the person, if it was learned; a cache, no identity.
        invite_expires_at: until then an invited person comes, or the invitation ends; None once they came.
    """

    id: str
    email: str
    name: str
    identities: tuple[Identity, ...]
    created_at: datetime
    status: PersonStatus = "active"
    platform_admin: bool = False
    partner: PartnerRoleState | None = None
    tenants: dict[str, TenantRoleName] = field(default_factory=dict)
    last_seen: datetime | None = None
    version: int = 1
    account: int | None = None
    invite_expires_at: datetime | None = None
    erased_at: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether this person may act at all."""
        return self.status not in {"inactive", "expired", "erased"}

    @property
    def seats(self) -> frozenset[str]:
        """The tenants in which this person takes a seat."""
        return frozenset(self.tenants) if self.status in HOLDS_A_SEAT else frozenset()

    def seen_as(self, email: str, name: str, *, platform_admin: bool) -> Human:
        """Take over what the identity provider says now; the same facts again change nothing.

        Of somebody who may not act nothing is taken over: their token says what they were.
        """
        first_sign_in = self.status == "invited"
        known = (self.email, self.name, self.platform_admin)
        if not self.active or (known == (email, name, platform_admin) and not first_sign_in):
            return self
        seen = {"email": email, "name": name, "platform_admin": platform_admin}
        return self.changed(**seen, status="active", invite_expires_at=None)

    def role_at(self, place: Place) -> str | None:
        """Return the person's role at ``place``."""
        if place.kind == "platform":
            return "operator" if self.platform_admin else None
        if place.kind == "partner":
            return self.partner.role if self.partner and self.partner.slug == place.slug else None
        return self.tenants.get(place.slug)

    @property
    def places(self) -> tuple[Place, ...]:
        """Return everywhere that the person has a role."""
        platform = (PLATFORM,) if self.platform_admin else ()
        partner = (Place("partner", self.partner.slug),) if self.partner else ()
        return (*platform, *partner, *(Place("tenant", slug) for slug in sorted(self.tenants)))

    def with_role(self, place: Place, role: str | None) -> Human:
        """Give, change or (None) take the role at ``place``; the role that they have already changes nothing.

        Raises:
            InAnotherPartner: a person belongs to one partner.
        """
        if self.role_at(place) == role:
            return self
        if place.kind == "platform":
            return self.changed(platform_admin=role is not None)
        if place.kind == "partner":
            return self.changed(partner=self._partner_role(place.slug, role))
        tenants: dict[str, Any] = {slug: known for slug, known in self.tenants.items() if slug != place.slug}
        return self.changed(tenants=tenants if role is None else {**tenants, place.slug: role})

    def _partner_role(self, slug: str, role: Any) -> PartnerRoleState | None:
        if self.partner is not None and self.partner.slug != slug:
            raise InAnotherPartner("their partner removes them first, or you invite another address")
        named: PartnerRoleName | None = role
        return None if named is None else PartnerRoleState(slug=slug, role=named)

    def deactivated(self) -> Human:
        """Shut the person out; a second time changes nothing.

        Raises:
            PersonErased
        """
        self._require_somebody()
        return self if self.status == "inactive" else self.changed(status="inactive")

    def reactivated(self, at: datetime, invited_until: datetime) -> Human:
        """Let the person in again, where they were: known to the identity provider, and seen here or not.

        An invitation whose time is over by now stays over: its old credential must not come back to life.

        Raises:
            PersonErased. InvitationExpired: they never came, so they are invited again.
        """
        self._require_somebody()
        if self.status == "expired":
            raise InvitationExpired("send the invitation again: that makes a new credential, too")
        if self.status != "inactive":
            return self
        if not self.identities:
            return self.changed(status="inviting")
        if self.last_seen is not None:
            return self.changed(status="active")
        until = self.invite_expires_at or invited_until
        return self.changed(status="invited" if at < until else "expired", invite_expires_at=until)

    def known_as(self, identity: Identity, account: int, invited_until: datetime) -> Human:
        """Record who the person is at the identity provider; who was shut out meanwhile stays so."""
        known: dict[str, Any] = {"identities": (*self.identities, identity), "account": account}
        if self.status == "inviting":
            known |= {"status": "invited", "invite_expires_at": invited_until}
        return self.changed(**known)

    def expired(self) -> Human:
        """End the invitation of somebody who did not come; whoever came, or was shut out, stays what they are."""
        return self.changed(status="expired") if self.status == "invited" else self

    def renewed(self, until: datetime) -> Human:
        """Invite somebody again whose invitation has ended; for everybody else nothing changes."""
        return self.changed(status="invited", invite_expires_at=until) if self.status == "expired" else self

    def erased(self, at: datetime) -> Human:
        """Leave nothing but the id, and that and when there was somebody; a second time changes nothing."""
        if self.status == "erased":
            return self
        nobody = Human(self.id, "", "", (), self.created_at, "erased", erased_at=at, version=self.version)
        return nobody.changed()

    def _require_somebody(self) -> None:
        if self.status == "erased":
            raise PersonErased("invite them as somebody new")

    def changed(self, **changes: Any) -> Human:
        """Return the next version with ``changes``."""
        return replace(self, **changes, version=self.version + 1)


def state_of(human: Human) -> UserState:
    """Return the public state that events carry."""
    names = UserState.model_fields
    return UserState.model_validate({f.name: getattr(human, f.name) for f in fields(human) if f.name in names})


def changes_between(before: Human | None, after: Human) -> UserChanges:
    """Return what differs; against None, everything that ``after`` has."""
    return changes_of(UserChanges, before, after)
