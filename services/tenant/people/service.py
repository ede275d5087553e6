"""Reading people: all of them, those of a place, oneself."""

from __future__ import annotations

from dataclasses import dataclass

from services.tenant.models import Tenant
from services.tenant.people.access import Access, Authority
from services.tenant.people.models import Human, Place
from services.tenant.people.records import Records
from services.tenant.people.repository import PeopleFilter
from services.tenant.projections.repository import PartnerProjection
from services.tenant.repository import TenantFilter, TenantRepository
from services.tenant.scope import Scope
from shared.auth import Person
from shared.errors import NotFound
from shared.paging import MAX_LIMIT, Page

NOT_CONFIGURED = "authentik_not_configured"
NOT_TRIED = "not_tried_yet"


@dataclass(frozen=True, slots=True)
class Known:
    """A person, and why the identity provider does not agree with our record yet (None: it does)."""

    human: Human
    pending: str | None


@dataclass(frozen=True, slots=True)
class Me:
    """The caller, as the platform knows them at this moment."""

    person: Person
    tenants: list[Tenant]
    partner_name: str | None


class PeopleService:
    """Use cases that change nothing. ``connected`` says whether anybody tells the identity provider at all."""

    def __init__(
        self,
        records: Records,
        access: Access,
        tenants: TenantRepository,
        partners: PartnerProjection,
        *,
        connected: bool,
    ) -> None:
        self._records = records
        self._access = access
        self._tenants = tenants
        self._partners = partners
        self._connected = connected

    async def page(self, only: PeopleFilter, limit: int, cursor: str | None) -> Page[Known]:
        """Return a page of everybody, in the order in which they became known."""
        return await self._known(await self._records.people.page_anywhere(only=only, limit=limit, cursor=cursor))

    async def page_at(self, caller: Person, place: Place, limit: int, cursor: str | None) -> Page[Known]:
        """Return a page of whoever has a role at ``place``.

        Raises:
            NotFound, InsufficientRole
        """
        await self._access.require(caller, place, Authority.READ)
        return await self._known(await self._records.people.page_at(place=place, limit=limit, cursor=cursor))

    async def read(self, person: str) -> Known:
        """Return anybody.

        Raises:
            NotFound
        """
        human = await self._records.people.find_anywhere(person)
        if human is None:
            raise NotFound
        return (await self._known(Page([human]))).items[0]

    async def me(self, caller: Person) -> Me:
        """Return who the caller is, where, and what these places are called now."""
        tenants: list[Tenant] = []
        if caller.tenants:
            own = Scope(tenants=frozenset(caller.tenants))
            tenants = list((await self._tenants.page(scope=own, only=TenantFilter(), limit=MAX_LIMIT)).items)
        partner = await self._partners.find(caller.partner.slug) if caller.partner else None
        return Me(caller, tenants, partner["name"] if partner else None)

    async def _known(self, page: Page[Human]) -> Page[Known]:
        reasons = await self._records.tasks.reasons([human.id for human in page.items])
        return Page([Known(human, self._pending(reasons.get(human.id))) for human in page.items], page.next)

    def _pending(self, reason: str | None) -> str | None:
        if reason is None or self._connected:
            return NOT_TRIED if reason == "" else reason
        return NOT_CONFIGURED
