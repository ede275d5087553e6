"""Leases: what one replica at a time must do, decided by the database's clock, fenced by a token.

A holder that slept through its time to live may still believe that it leads, therefore the lease alone
protects nothing: the writer presents its fencing token in the transaction of its write (``assert_held``), and that
write conflicts with the taking-over of the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pymongo
import structlog
from prometheus_client import Gauge
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from shared.errors import Conflict
from shared.mongo import Database, Document, DuplicateKey, Transaction

log = structlog.get_logger()

RELEASE_SECONDS = 1.0
TTL = timedelta(seconds=10)
_held = Gauge("dezky_lease_held", "1 while this replica holds a lease", ["database", "lease"])
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class LeaseLost(Conflict):
    code, title = "lease_lost", "Another replica holds the lease now"


class Lease:
    """One named lease in the collection ``leases``.

    Attributes:
        token: the fencing token while held: grows by one at each change of holder; None while not held.
    """

    def __init__(self, db: Database, name: str, holder: str, ttl: timedelta = TTL) -> None:
        self._leases = db["leases"]
        self._name = name
        self._holder = holder
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        # A lease on one of many things has a path for a name: as many series as things would help nobody.
        self._gauge = None if "/" in name else _held.labels(db.name, name)
        self.token: int | None = None

    async def acquire(self) -> bool:
        """Take or renew the lease; True while this holder has it. Time is the server's (``$$NOW``)."""
        expires = {"$add": ["$$NOW", self._ttl_ms]}
        mine = {"$eq": ["$holder", self._holder]}
        update: list[Document] = [
            {
                "$set": {
                    "holder": self._holder,
                    "expiresAt": expires,
                    "token": {"$add": ["$token", {"$cond": [mine, 0, 1]}]},
                }
            }
        ]
        free = {"$or": [mine, {"$lte": ["$expiresAt", "$$NOW"]}]}
        query = {"_id": self._name, "$expr": free}
        row = await self._leases.find_one_and_update(query, update, return_document=ReturnDocument.AFTER)
        if row is None and await self._introduce():
            row = await self._leases.find_one_and_update(query, update, return_document=ReturnDocument.AFTER)
        token = None if row is None else int(row["token"])
        if token != self.token:
            log.info("lease.held" if token is not None else "lease.lost", lease=self._name, token=token)
        self.token = token
        self._tell()
        return token is not None

    def _tell(self) -> None:
        if self._gauge is not None:
            self._gauge.set(self.token is not None)

    async def _introduce(self) -> bool:
        """Make the lease's document, free for all, unless it exists; True if it was made here."""
        row = {"_id": self._name, "holder": None, "token": 0, "expiresAt": _LONG_AGO}
        try:
            await self._leases.insert_one(row)
        except DuplicateKey:
            return False
        return True

    async def assert_held(self, tx: Transaction) -> None:
        """Bind ``tx`` to this tenure: it commits only if nobody took the lease over meanwhile.

        Raises:
            LeaseLost: the token is no longer the newest.
        """
        result = await self._leases.update_one(
            {"_id": self._name, "holder": self._holder, "token": self.token},
            {"$inc": {"writes": 1}},
            session=tx,
        )
        if self.token is None or result.matched_count == 0:
            self.token = None
            self._tell()
            raise LeaseLost(f"the lease {self._name} has passed to another replica")

    async def release(self) -> None:
        """Give the lease up at once, so that no successor waits for its end; if that fails, it ends by itself."""
        if self.token is None:
            return
        mine = {"_id": self._name, "holder": self._holder, "token": self.token}
        self.token = None
        self._tell()
        # The driver's own deadline, as in ``Mongo.ping``: a cancelled call can leave the client unusable.
        with contextlib.suppress(PyMongoError), pymongo.timeout(RELEASE_SECONDS):
            await self._leases.update_one(mine, [{"$set": {"expiresAt": "$$NOW", "holder": None}}])

    async def hold(self) -> None:
        """Return once the lease is held, asking three times per time to live."""
        while not await self.acquire():  # noqa: ASYNC110 - the database is polled, there is no event to wait for
            await asyncio.sleep(self._ttl_ms / 3000)
