"""Closes requests that nobody answered in time, in one replica at a time."""

from __future__ import annotations

import asyncio

import structlog

from services.tenant.transfers.service import EXPIRED_AT_ONCE, Transfers
from shared.leases import Lease
from shared.mongo import Mongo, is_unavailable, wait_until_available

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""Readers see a request as expired at once; this is how late the event may be."""


class ExpiryWorker:
    """The lease saves replicas from each other's work; the versions of the requests keep it from being done twice."""

    def __init__(self, mongo: Mongo, transfers: Transfers, lease: Lease) -> None:
        self._mongo = mongo
        self._transfers = transfers
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled; the database may be away."""
        try:
            while True:
                await self._once()
        finally:
            await self._lease.release()

    async def _once(self) -> None:
        try:
            await self._lease.hold()
            if await self._transfers.expire() < EXPIRED_AT_ONCE:
                await asyncio.sleep(LOOK_SECONDS)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("transfers.expiry_failed")
            await asyncio.sleep(1.0)
            await wait_until_available(self._mongo)
