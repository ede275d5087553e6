"""What the use cases of tenants ask of provisioning: a row in the transaction of the change, and the conditions."""

from __future__ import annotations

from collections.abc import Iterable

from services.tenant.models import Tenant
from services.tenant.provisioning.models import Conditions, untried
from services.tenant.provisioning.repository import ProvisioningRepository
from shared.contracts.tenant import Integration, TenantStatus
from shared.mongo import Transaction


class Intents:
    """``configured`` names the integrations that there are; with none, tenants are active at once."""

    def __init__(self, rows: ProvisioningRepository, configured: tuple[Integration, ...]) -> None:
        self._rows = rows
        self._configured = configured

    @property
    def first_status(self) -> TenantStatus:
        """The status of a new tenant."""
        return "pending" if self._configured else "active"

    async def want(self, tenant: Tenant, tx: Transaction) -> None:
        """Record, together with a change, that the integrations have to follow it.

        What is erased passes through a comparison even where there is nothing to compare with: it ends the deletion.
        """
        if self._configured or tenant.erasing:
            await self._rows.want(tenant, tx)

    async def conditions(self, tenants: Iterable[Tenant], tx: Transaction | None = None) -> dict[str, Conditions]:
        """Return the conditions of each tenant, by its id, as they stand for its present version."""
        known = list(tenants)
        if not self._configured:
            return {tenant.id: {} for tenant in known}
        rows = await self._rows.find([tenant.id for tenant in known], tx)
        found: dict[str, Conditions] = {}
        for tenant in known:
            kept = rows[tenant.id].conditions if tenant.id in rows else {}
            found[tenant.id] = {
                name: kept[name].for_generation(tenant.version) if name in kept else untried(tenant.created_at)
                for name in self._configured
            }
        return found
