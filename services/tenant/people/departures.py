"""What becomes of the people of a tenant whose erasure was seen everywhere."""

from __future__ import annotations

from services.tenant.people.erasure.erasures import Erasures
from services.tenant.people.events import about
from services.tenant.people.models import Place
from services.tenant.people.records import Records
from shared.actors import system
from shared.contracts.user import UserRoleChanged
from shared.mongo import Transaction


class Departures:
    """Safe to repeat and to run twice: whoever has no role there any more is not met again."""

    def __init__(self, records: Records, erasures: Erasures) -> None:
        self._records = records
        self._erasures = erasures

    async def dismiss(self, tenant: str, limit: int = 100) -> int:
        """Take the role at ``tenant`` (a slug) from up to ``limit`` people; return how many, 0 when nobody is left.

        Whoever has no other place is erased with the tenant. Nobody is the last admin of what is gone.

        Raises:
            AuthentikError: an account could not be found out; the people before it are gone already.
        """
        place = Place("tenant", tenant)
        page = await self._records.people.page_at(place=place, limit=limit, cursor=None)
        erased = [human.id for human in page.items if await self._dismiss(human.id, place)]
        if erased:  # after a failure above, the task of each does it
            await self._erasures.forget(erased)
        return len(page.items)

    async def _dismiss(self, person: str, place: Place) -> bool:
        """Return whether the person was erased."""
        account = await self._erasures.account_of(person)

        async def body(tx: Transaction) -> bool:
            before = await self._records.people.find_anywhere(person, tx)
            if before is None or before.role_at(place) is None:
                return False
            actor = system("departures")
            if before.places == (place,):
                await self._erasures.erase_within(actor, before, account, tx)
                return True
            after = before.with_role(place, None)
            await self._records.write(actor, before, after, tx)
            await self._records.outbox.add(tx, UserRoleChanged(**about(actor, before, after, place)))
            return False

        return await self._records.transactions.run(body)
