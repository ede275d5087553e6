"""What the routes of people take and give."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from services.tenant.people.directory import SignedIn
from services.tenant.people.invites import Invitation, NewPerson
from services.tenant.people.models import Human, Identity, Place
from services.tenant.people.service import Known, Me
from shared.auth import Surface
from shared.contracts.tenant import TenantStatus
from shared.contracts.user import Handoff, PartnerRoleName, PartnerRoleState, PersonStatus, TenantRoleName
from shared.domains import parse_domain
from shared.errors import Invalid
from shared.paging import Page
from shared.schemas import Email, Input, Text, Timestamp, View

Claim = Annotated[str, Field(max_length=400)]


def _unmistakable(address: str) -> str:
    """Refuse an address whose letters may be taken for others: what is not ASCII shows itself as ``xn--``."""
    if not address.isascii():
        raise ValueError("must be written in ASCII, a domain of other letters in its xn-- form")
    try:
        parse_domain(address.rpartition("@")[2], "email")
    except Invalid as error:
        raise ValueError("must end in a domain name (IDNA 2008)") from error
    return address


InviteeEmail = Annotated[Email, AfterValidator(_unmistakable)]


class ResolvePrincipal(Input):
    """The gateway's question: who is the bearer of this verified token, used on this surface from this address?"""

    identity_provider: Annotated[str, Field(min_length=1, max_length=100)]
    subject: Annotated[str, Field(min_length=1, max_length=255)]
    email: Claim = ""
    name: Claim = ""
    groups: Annotated[list[Claim], Field(max_length=500)] = Field(default_factory=list)
    surface: Surface | None = None
    client_ip: Annotated[str, Field(max_length=45)] | None = None

    def to_signed_in(self) -> SignedIn:
        return SignedIn(
            identity=Identity(self.identity_provider, self.subject),
            email=self.email,
            name=self.name,
            groups=tuple(self.groups),
            surface=self.surface,
            client_ip=self.client_ip,
        )


class InviteOperator(Input):
    """A new operator of the platform."""

    email: InviteeEmail
    name: Text
    operator: Literal[True] = True

    def to_person(self) -> NewPerson:
        return NewPerson(self.email, self.name)


class InvitePartnerPerson(Input):
    """Somebody new at a partner; the partner's first person is owner whatever is said here."""

    email: InviteeEmail
    name: Text
    role: PartnerRoleName = "staff"

    def to_person(self) -> NewPerson:
        return NewPerson(self.email, self.name, self.role)


class InviteTenantPerson(Input):
    """Somebody new at a tenant; takes a seat."""

    email: InviteeEmail
    name: Text
    role: TenantRoleName = "member"

    def to_person(self) -> NewPerson:
        return NewPerson(self.email, self.name, self.role)


class ChangePartnerRole(Input):
    role: PartnerRoleName


class ChangeTenantRole(Input):
    role: TenantRoleName


class InvitationView(View):
    """An invitation. ``link`` or ``tempPassword`` is shown in the answer that first brings it, and never again:
    a replay only says ``credentialReturned``. ``handoff`` ``existing``: the person can sign in already."""

    user_id: str
    status: Literal["pending", "invited", "active", "inactive"]
    subject: str | None = None
    handoff: Handoff | None = None
    link: str | None = Field(None, repr=False)
    temp_password: str | None = Field(None, repr=False)
    credential_returned: bool = False

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        members: dict[str, Any] = handler(self)
        return {name: value for name, value in members.items() if value is not None}


class PendingView(View):
    """The identity provider does not agree with this record yet; ``reason`` is the code of what is in the way."""

    reason: str


class PersonView(View):
    """A person, as operators see them; of somebody who was erased only the id and the dates."""

    id: str
    email: str
    name: str
    status: PersonStatus
    active: bool
    platform_admin: bool
    partner: PartnerRoleState | None
    tenants: dict[str, TenantRoleName]
    last_seen: Timestamp | None
    created_at: Timestamp
    invite_expires_at: Timestamp | None
    erased_at: Timestamp | None
    version: int
    pending: PendingView | None


class MemberView(View):
    """A person, as the people of one place see them: nothing of where else they belong."""

    id: str
    email: str
    name: str
    role: str
    status: PersonStatus
    last_seen: Timestamp | None
    invite_expires_at: Timestamp | None
    version: int
    pending: PendingView | None


class PersonList(View):
    """A page of people in the order in which they became known."""

    items: list[PersonView]
    next: str | None


class MemberList(View):
    """A page of the people of one place in the order in which they became known."""

    items: list[MemberView]
    next: str | None


class OwnTenantView(View):
    slug: str
    name: str
    status: TenantStatus
    role: TenantRoleName


class OwnPartnerView(View):
    slug: str
    name: str | None
    role: PartnerRoleName


class MeView(View):
    """The caller. ``surfaces`` are those that they may sign in on, ``surface`` the one of this request."""

    id: str
    email: str
    name: str
    surface: Surface
    surfaces: list[Surface]
    platform_admin: bool
    partner: OwnPartnerView | None
    tenants: list[OwnTenantView]


class PrincipalView(View):
    """A person as the gateway puts them into internal tokens, and whether they may act at all."""

    id: str
    subject: str
    email: str
    name: str
    groups: list[str]
    platform_admin: bool
    partner: PartnerRoleState | None
    tenants: dict[str, TenantRoleName]
    version: int
    active: bool


def principal_view(human: Human, asked: ResolvePrincipal) -> PrincipalView:
    """Return the answer to ``asked``."""
    return PrincipalView(
        id=human.id,
        subject=asked.subject,
        email=human.email,
        name=human.name,
        groups=asked.groups,
        platform_admin=human.platform_admin,
        partner=human.partner,
        tenants=human.tenants,
        version=human.version,
        active=human.active,
    )


def invitation_view(invitation: Invitation, *, shown: bool) -> InvitationView:
    """Return an invitation, with its credential only if it is ``shown``."""
    credential = invitation.credential
    if credential is None or invitation.status in {"inviting", "withdrawn"}:
        return InvitationView(user_id=invitation.person, status="pending")
    return InvitationView.model_validate(
        {
            "user_id": invitation.person,
            "status": invitation.status,
            "subject": invitation.subject,
            "handoff": credential.handoff,
            "link": credential.link if shown else None,
            "temp_password": credential.password if shown else None,
            "credential_returned": credential.handoff in {"recovery-link", "temp-password"},
        }
    )


def person_view(known: Known) -> PersonView:
    """Return all of a person."""
    human = known.human
    return PersonView(
        id=human.id,
        email=human.email,
        name=human.name,
        status=human.status,
        active=human.active,
        platform_admin=human.platform_admin,
        partner=human.partner,
        tenants=human.tenants,
        last_seen=human.last_seen,
        created_at=human.created_at,
        invite_expires_at=human.invite_expires_at,
        erased_at=human.erased_at,
        version=human.version,
        pending=_pending(known),
    )


def member_view(known: Known, place: Place) -> MemberView:
    """Return a person as one of ``place``."""
    human = known.human
    return MemberView(
        id=human.id,
        email=human.email,
        name=human.name,
        role=human.role_at(place) or "",
        status=human.status,
        last_seen=human.last_seen,
        invite_expires_at=human.invite_expires_at,
        version=human.version,
        pending=_pending(known),
    )


def member_list(page: Page[Known], place: Place) -> MemberList:
    """Return a page of the people of ``place``."""
    return MemberList(items=[member_view(known, place) for known in page.items], next=page.next)


def me_view(me: Me) -> MeView:
    """Return the caller."""
    person = me.person
    surfaces: list[Surface] = ["operator", "portal"] if person.platform_admin else ["portal"]
    partner = person.partner
    return MeView(
        id=person.id,
        email=person.email,
        name=person.name,
        surface=person.surface,
        surfaces=surfaces,
        platform_admin=person.platform_admin,
        partner=OwnPartnerView(slug=partner.slug, name=me.partner_name, role=partner.role) if partner else None,
        tenants=[
            OwnTenantView(slug=tenant.slug, name=tenant.name, status=tenant.status, role=person.tenants[tenant.slug])
            for tenant in me.tenants
        ],
    )


def _pending(known: Known) -> PendingView | None:
    return None if known.pending is None else PendingView(reason=known.pending)
