"""Events of people; the tenant service owns them. The types begin with ``user`` and ``platform``."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.envelope import Change, Contract, Event, Moment, Personal, PersonResource

PersonStatus = Literal["inviting", "invited", "expired", "active", "inactive", "erased", "withdrawn"]
"""``inviting``: the identity provider does not know of the person yet. ``expired``: the invited person did not come in
time and cannot sign in until the invitation is sent again. ``erased``: an id without a person; it never comes back.
``withdrawn`` is only said, never kept: the record of an invitation that came to nothing is removed."""

Handoff = Literal["recovery-link", "temp-password", "existing", "none"]
"""The kind of credential that was shown once. ``existing``: the person can sign in already and got none. ``none``: the
invitation was finished when nobody waited for its answer any more; resending makes a credential."""

PartnerRoleName = Literal["owner", "staff"]
TenantRoleName = Literal["admin", "member"]


class PartnerRoleState(Contract):
    slug: str
    role: PartnerRoleName


class UserState(Contract):
    """The full public state of a person after a change.

    Attributes:
        email, name: None where the person was erased before the event was told.
        tenants: tenant slug → role.
    """

    id: str
    email: Personal[str] | None
    name: Personal[str] | None
    platform_admin: bool
    partner: PartnerRoleState | None
    tenants: dict[str, TenantRoleName]
    status: PersonStatus
    created_at: Moment
    version: int


class UserChanges(Contract):
    """Fields of a person before and after; a field that did not change is absent."""

    email: Change[Personal[str]] | None = None
    name: Change[Personal[str]] | None = None
    platform_admin: Change[bool] | None = None
    partner: Change[PartnerRoleState] | None = None
    tenants: Change[dict[str, TenantRoleName]] | None = None
    status: Change[PersonStatus] | None = None


class UserEvent(Event):
    """What all events of a person's life carry."""

    resource: PersonResource
    state: UserState
    changes: UserChanges


class UserRegistered(UserEvent):
    type: ClassVar[str] = "user.registered.v1"
    summary: ClassVar[str] = "A person signed in for the first time."


class UserUpdated(UserEvent):
    type: ClassVar[str] = "user.updated.v1"
    summary: ClassVar[str] = "Name, e-mail or operator group, as the identity provider says, changed."


class UserInvited(UserEvent):
    """An invitation took effect at the identity provider; the credential itself is nowhere."""

    type: ClassVar[str] = "platform.user_invited.v1"
    summary: ClassVar[str] = "A person was invited and can sign in."

    handoff: Handoff


class UserInviteResent(Event):
    """Whoever was invited and has not come yet got a new credential; the person did not change."""

    type: ClassVar[str] = "user.invite_resent.v1"
    summary: ClassVar[str] = "An invited person got a new credential."

    resource: PersonResource
    handoff: Handoff


class UserInviteStarted(UserEvent):
    type: ClassVar[str] = "user.invite_started.v1"
    summary: ClassVar[str] = "An invitation was recorded; the identity provider does not know of it yet."


class UserInviteWithdrawn(UserEvent):
    """An invitation that had not taken effect was taken back or could not take effect.

    Attributes:
        reason: ``role_removed``, ``merged`` (the account belongs to another person, who got the role), or the
            code of the problem that the inviter was answered with.
    """

    type: ClassVar[str] = "user.invite_withdrawn.v1"
    summary: ClassVar[str] = "An invitation came to nothing; its record is removed."

    reason: str


class UserRoleChanged(UserEvent):
    type: ClassVar[str] = "user.role_changed.v1"
    summary: ClassVar[str] = "A person got, changed or lost a role in a partner or a tenant."


class UserDeactivated(UserEvent):
    type: ClassVar[str] = "user.deactivated.v1"
    summary: ClassVar[str] = "A person is shut out on every surface."


class UserReactivated(UserEvent):
    type: ClassVar[str] = "user.reactivated.v1"
    summary: ClassVar[str] = "A person who was shut out may sign in again."


class UserInviteExpired(UserEvent):
    type: ClassVar[str] = "user.invite_expired.v1"
    summary: ClassVar[str] = "An invited person did not come in time; their seat is free and their credential is void."


class UserErased(Event):
    """Whoever keeps something of this person forgets it. The event itself holds the id and nothing else of them.

    The resource is the person without a name.
    """

    type: ClassVar[str] = "user.erased.v1"
    summary: ClassVar[str] = "A person was erased: the id stays, everything personal goes."

    resource: PersonResource
