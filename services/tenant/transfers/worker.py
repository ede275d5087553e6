"""Closes requests that nobody answered in time, in one replica at a time."""

from __future__ import annotations

import asyncio

from services.tenant.transfers.service import EXPIRED_AT_ONCE, Transfers
from shared.leases import Lease

LOOK_SECONDS = 5.0
"""Readers see a request as expired at once; this is how late the event may be."""


class ExpiryWorker:
    """The lease saves replicas from each other's work; the versions of the requests keep it from being done twice."""

    def __init__(self, transfers: Transfers, lease: Lease) -> None:
        self._transfers = transfers
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            one of DATABASE_UNAVAILABLE: to be run again when the database is there.
        """
        try:
            while True:
                await self._lease.hold()
                if await self._transfers.expire() < EXPIRED_AT_ONCE:
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._lease.release()
