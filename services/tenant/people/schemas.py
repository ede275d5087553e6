"""What the routes of people take and give."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.tenant.people.directory import SignedIn
from services.tenant.people.models import Human, Identity
from shared.contracts.user import PartnerRoleState, TenantRoleName
from shared.schemas import Input, View

Claim = Annotated[str, Field(max_length=400)]


class ResolvePrincipal(Input):
    """The gateway's question: who is the bearer of this verified token?"""

    identity_provider: Annotated[str, Field(min_length=1, max_length=100)]
    subject: Annotated[str, Field(min_length=1, max_length=255)]
    email: Claim = ""
    name: Claim = ""
    groups: Annotated[list[Claim], Field(max_length=500)] = Field(default_factory=list)

    def to_signed_in(self) -> SignedIn:
        return SignedIn(Identity(self.identity_provider, self.subject), self.email, self.name, tuple(self.groups))


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
