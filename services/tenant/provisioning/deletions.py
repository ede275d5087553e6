"""How a deletion goes on after its grace: the erasure begins, and it ends with a certificate once all was seen gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from services.tenant.models import Tenant, WrongStatus
from services.tenant.provisioning.certificates.models import Signer
from services.tenant.provisioning.certificates.repository import CertificateRepository
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.models import ERASED
from services.tenant.provisioning.repository import ProvisioningRepository, Row
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.service import about
from shared.actors import system
from shared.clock import Clock
from shared.contracts.tenant import TenantDeleted, TenantErasureStarted
from shared.errors import StaleVersion, Unavailable
from shared.mongo import Transaction, Transactions
from shared.outbox import Outbox

log = structlog.get_logger()

ACTOR = system("provisioning")
AT_ONCE = 100


class Departures(Protocol):
    """Ends the roles of people."""

    async def dismiss(self, tenant: str, limit: int = 100) -> int:
        """End the roles that people have at a tenant, erase who has no other place, and return how many there were.

        Raises:
            Unavailable: something that this needs is away; to be repeated.
        """
        ...


@dataclass(frozen=True, slots=True)
class Records:
    """What a deletion reads and writes."""

    tenants: TenantRepository
    rows: ProvisioningRepository
    intents: Intents
    certificates: CertificateRepository
    acceptances: AcceptanceRepository
    transactions: Transactions
    outbox: Outbox
    clock: Clock


class Deletions:
    """Both steps can be repeated, by any replica; versions decide who was first."""

    def __init__(self, records: Records, signer: Signer, departures: Departures) -> None:
        self._records = records
        self._signer = signer
        self._departures = departures

    async def begin(self) -> int:
        """Begin the erasure of every tenant whose time to be restored is over; return how many were looked at.

        A tenant that is restored in the same instant is restored or erased, never both: its version decides.
        """
        due = await self._records.tenants.due_for_erasure_across_tenants(self._records.clock.now(), AT_ONCE)
        for slug in due:
            try:
                await self._records.transactions.run(partial(self._begin, slug))
            except (WrongStatus, StaleVersion):
                log.info("provisioning.erasure_not_begun", tenant=slug)
        return len(due)

    async def _begin(self, slug: str, tx: Transaction) -> None:
        records = self._records
        before = await records.tenants.find(scope=EVERYTHING, slug=slug, tx=tx)
        if before is None:
            return
        after = before.begin_erasure(records.clock.now())
        if after is not before:
            await records.tenants.save(before, after, tx)
            await records.outbox.add(tx, TenantErasureStarted(**about(ACTOR, before, after)))
            await records.intents.want(after, tx)

    async def finish(self, row: Row, token: int) -> None:
        """End the deletion of a tenant of which every integration was just seen to hold nothing.

        Its people lose their roles first: whoever is killed in between finds them gone, and goes on.

        Raises:
            LeaseLost: another replica works on this tenant now.
        """
        if any((seen.status, seen.reason) != ("ready", ERASED) for seen in row.conditions.values()):
            return
        records = self._records
        tenant = await records.tenants.find(scope=EVERYTHING, slug=row.slug)
        if tenant is None or not tenant.erasing:
            return
        try:
            while await self._departures.dismiss(row.slug):
                pass
        except Unavailable as error:
            # Whoever is gone already is not met again; the rest goes with the next comparison, which is near.
            log.warning("provisioning.departures_wait", tenant=row.slug, reason=error.code)
            return

        async def body(tx: Transaction) -> None:
            before = await records.tenants.find(scope=EVERYTHING, slug=row.slug, tx=tx)
            # What was seen holds for the version that was compared.
            if before is not None and before.version == tenant.version:
                await self._finish(before, row, token, tx)

        await records.transactions.run(body)

    async def _finish(self, before: Tenant, row: Row, token: int, tx: Transaction) -> None:
        records, now = self._records, self._records.clock.now()
        after = before.finish_erasure(now)
        certificate = self._signer.certify(after, row.agreed, now)
        await records.tenants.save(before, after, tx)
        await records.certificates.insert(certificate, tx)
        await records.acceptances.remove_all(tenant_id=after.id, tx=tx)
        seen = {name: replace(c, observed_generation=after.version) for name, c in row.conditions.items()}
        await records.rows.retire(replace(row, conditions=seen), token, tx)
        await records.outbox.add(
            tx, TenantDeleted(**about(ACTOR, before, after), certificate_sha256=certificate.sha256)
        )
