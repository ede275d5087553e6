"""Reads what should be from our own records."""

from __future__ import annotations

from collections.abc import Collection

from services.tenant.people.models import Human, Identity, Place
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.models import Desired, Standing, desired_of, standing_of
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from shared.paging import MAX_LIMIT


class Desires:
    """The truth about tenants and people, for those who make others agree with it."""

    def __init__(self, tenants: TenantRepository, people: PeopleRepository) -> None:
        self._tenants = tenants
        self._people = people

    async def of_tenant(self, slug: str, remembered: Collection[str] = ()) -> Desired | None:
        """Return what the integrations should hold for a tenant; ``remembered`` people may be nobody's any more."""
        tenant = await self._tenants.find(scope=EVERYTHING, slug=slug)
        if tenant is None:
            return None
        people = await self._people_of(slug)
        slugs = {slug, *(place for human in people for place in human.tenants)}
        left = set(remembered) - {human.id for human in people}
        return desired_of(
            tenant,
            people,
            await self._tenants.statuses_across_tenants(slugs),
            ending=await self._tenants.ending_across_tenants(slugs),
            erased=await self._people.erased_among(left) if left else (),
        )

    async def has_tenant_besides(self, slug: str, person: str) -> bool:
        """Tell whether a person has a tenant besides this one and besides those that are erased."""
        human = await self._people.find_anywhere(person)
        others = set(human.tenants) - {slug} if human is not None else set()
        return bool(others - await self._tenants.ending_across_tenants(others))

    async def of_person(self, person: str) -> Standing | None:
        """Return what a person is entitled to."""
        return await self._standing(await self._people.find_anywhere(person))

    async def of_identity(self, identity: Identity) -> Standing | None:
        """Return what somebody whom a provider knows is entitled to, or None for a stranger."""
        return await self._standing(await self._people.find_by_identity(identity))

    async def _standing(self, human: Human | None) -> Standing | None:
        if human is None:
            return None
        return standing_of(human, await self._tenants.statuses_across_tenants(human.tenants.keys()))

    async def _people_of(self, slug: str) -> list[Human]:
        found: list[Human] = []
        cursor: str | None = None
        while True:
            page = await self._people.page_at(place=Place("tenant", slug), limit=MAX_LIMIT, cursor=cursor)
            found += page.items
            cursor = page.next
            if cursor is None:
                return found
