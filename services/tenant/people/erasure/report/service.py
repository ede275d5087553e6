"""The use case «how far is the erasure»."""

from __future__ import annotations

from collections.abc import Sequence

from services.tenant.people.erasure.report.backends import Gone, suite_of
from services.tenant.people.erasure.report.models import Backend, Kept, Report, account_of, status_of
from services.tenant.people.erasure.report.remains import remains_of
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.people.erasure.repository import RefusedIdentities
from services.tenant.people.models import Human
from services.tenant.people.records import Records
from services.tenant.provisioning.repository import ProvisionedUsers, ProvisioningRepository
from shared.errors import Conflict, NotFound


class PersonNotErased(Conflict):
    code, title = "person_not_erased", "This person has not been erased"


class ErasureReports:
    """Reads them. ``connected`` says whether there is an identity provider at all."""

    def __init__(
        self,
        records: Records,
        book: ErasureBook,
        refused: RefusedIdentities,
        rows: ProvisioningRepository,
        file_users: ProvisionedUsers,
        *,
        connected: bool,
    ) -> None:
        self._records = records
        self._book = book
        self._refused = refused
        self._rows = rows
        self._file_users = file_users
        self._connected = connected

    async def read(self, person: str) -> Report:
        """Return how far the erasure of a person is.

        Raises:
            NotFound: there never was such a person.
            PersonNotErased: there is one.
        """
        human = await self._records.people.find_anywhere(person)
        if human is None:
            raise NotFound
        if human.erased_at is None:
            raise PersonNotErased("erase them first: POST /api/users/{id}/erase")
        kept = await self._book.find(person)
        backends = await self._backends(human, kept)
        remains = remains_of(
            human.erased_at,
            kept.forgotten_at,
            self._records.clock.now(),
            refused_until=await self._refused.until(person),
            backends=backends,
        )
        return Report(person, human.erased_at, status_of(kept, backends, remains), kept.services, backends, remains)

    async def _backends(self, human: Human, kept: Kept) -> Sequence[Backend]:
        reasons = await self._records.tasks.reasons([human.id])
        account = account_of(kept, reasons.get(human.id), connected=self._connected)
        at = human.erased_at or human.created_at
        gone = Gone(human.id, at, kept.file_user, await self._file_users.made(human.id))
        rows = await self._rows.about(human.id, kept.tenants)
        return [account, *(backend for row in rows for backend in suite_of(row, gone))]
