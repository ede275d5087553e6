"""Whether a tenant has a seat for one more."""

from __future__ import annotations

from services.tenant.models import WrongStatus
from services.tenant.people.models import SeatLimitReached
from services.tenant.people.repository import PeopleRepository
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from shared.errors import NotFound
from shared.mongo import Transaction


class Seats:
    """Asked within a transaction that is bound to the tenant's people (``one_at_a_time``), or the answer is too old."""

    def __init__(self, people: PeopleRepository, tenants: TenantRepository) -> None:
        self._people = people
        self._tenants = tenants

    async def require(self, slug: str, tx: Transaction) -> None:
        """Return if there is one; a tenant that is gone has no limit.

        Raises:
            SeatLimitReached
        """
        tenant = await self._tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
        if tenant is not None and await self._people.seats_taken(slug, tx) >= tenant.seats:
            raise SeatLimitReached(f"all {tenant.seats} of {slug} are taken: buy more, or deactivate somebody")

    async def require_open(self, slug: str, tx: Transaction) -> None:
        """Return if there is one, and the tenant takes people.

        Raises:
            NotFound, WrongStatus, SeatLimitReached
        """
        tenant = await self._tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
        if tenant is None:
            raise NotFound
        if tenant.status not in {"pending", "active"}:
            raise WrongStatus(f"nobody is invited to a tenant that is {tenant.status}")
        await self.require(slug, tx)

    async def refuse_ending(self, slug: str) -> None:
        """Return unless the tenant is being deleted; asked before an account is made, and bound to nothing.

        Raises:
            WrongStatus: an account made now could be one that its erasure has looked for already.
        """
        found = await self._tenants.statuses_across_tenants([slug])
        if (status := found.get(slug)) in {"deleting", "deleted"}:
            raise WrongStatus(f"nobody is let into a tenant that is {status}")
