"""Who may see and change the people of a place: the rows «partner people» and «tenant people» of the access table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from services.tenant.models import Tenant
from services.tenant.people.models import BelongsElsewhere, Human, Place
from services.tenant.projections.repository import PartnerProjection
from services.tenant.repository import TenantRepository
from services.tenant.scope import Scope
from services.tenant.service import is_plain_member
from shared.auth import Person
from shared.errors import InsufficientRole, NotFound


class Authority(IntEnum):
    """What a caller may do with the people of a place; nothing means that it does not exist for them."""

    NOTHING = 0
    EXISTS = 1
    READ = 2
    CHANGE = 3


@dataclass(frozen=True, slots=True)
class Ground:
    """A place that the caller was let into. ``partner`` owns the tenant; ``tenant`` is None for a partner."""

    place: Place
    tenant: Tenant | None = None

    @property
    def partner(self) -> str | None:
        return self.place.slug if self.place.kind == "partner" else self.tenant.partner if self.tenant else None


class Access:
    """Decides by the caller's principal and by what this service knows of tenants and partners."""

    def __init__(self, tenants: TenantRepository, partners: PartnerProjection) -> None:
        self._tenants = tenants
        self._partners = partners

    async def require(self, caller: Person, place: Place, wanted: Authority) -> Ground:
        """Return the place if the caller may do what is wanted with its people.

        Raises:
            NotFound: it does not exist, or not for this caller. InsufficientRole: it does, and the role is too low.
        """
        authority, ground = await self._authority(caller, place)
        if authority is Authority.NOTHING:
            raise NotFound
        if authority < wanted:
            raise InsufficientRole("ask an owner of the partner or an admin of the tenant")
        return ground

    async def require_all_of(self, caller: Person, human: Human) -> None:
        """Return if the caller may change the person's roles everywhere that they have one.

        Raises:
            NotFound: the person is nobody of the caller's. InsufficientRole: the caller's role is too low.
            BelongsElsewhere: the person has another role, over which the caller has no say.
        """
        if caller.is_operator:
            return
        found = [(await self._authority(caller, place))[0] for place in human.places]
        if not any(found):
            raise NotFound
        if max(found) < Authority.CHANGE:
            raise InsufficientRole("ask an owner of the partner or an admin of the tenant")
        if min(found) < Authority.CHANGE:
            raise BelongsElsewhere("ask a platform operator")

    async def _authority(self, caller: Person, place: Place) -> tuple[Authority, Ground]:
        if place.kind == "platform":
            return (Authority.CHANGE if caller.is_operator else Authority.NOTHING), Ground(place)
        if place.kind == "partner":
            return await self._over_partner(caller, place), Ground(place)
        tenant = await self._tenants.find(scope=Scope.of(caller), slug=place.slug)
        if tenant is None:
            return Authority.NOTHING, Ground(place)
        return (Authority.EXISTS if is_plain_member(caller, tenant) else Authority.CHANGE), Ground(place, tenant)

    async def _over_partner(self, caller: Person, place: Place) -> Authority:
        if caller.is_operator:
            return Authority.CHANGE if await self._partners.find(place.slug) else Authority.NOTHING
        if caller.partner is None or caller.partner.slug != place.slug:
            return Authority.NOTHING
        return Authority.CHANGE if caller.partner.role == "owner" else Authority.READ
