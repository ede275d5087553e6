"""Brings stored tenants up to what this version of the service reads."""

from __future__ import annotations

import asyncio

from services.tenant.repository import TenantRepository


class Completion:
    """Runs once in every replica that starts; what another has completed is complete."""

    def __init__(self, tenants: TenantRepository) -> None:
        self._tenants = tenants

    async def run(self) -> None:
        """Complete what is not, then wait to be cancelled: a task that returns is started again."""
        await self._tenants.complete()
        await asyncio.Event().wait()
