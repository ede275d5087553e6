"""MongoDB: one client, majority writes, and transactions with the driver's retry rules.

Only this module, ``outbox``, ``leases``, ``idempotency``, ``inbox``, ``projections.generations`` and the
``repository.py`` files import the driver.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pymongo
import structlog
from bson.codec_options import CodecOptions
from prometheus_client import Counter, Gauge, Histogram
from pymongo import AsyncMongoClient, IndexModel, ReadPreference, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionCreatedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
)
from pymongo.read_concern import ReadConcern

Document = dict[str, Any]
Database = AsyncDatabase[Document]
Transaction = AsyncClientSession
"""The open transaction: handed to every repository call that belongs to it."""

T = TypeVar("T")
log = structlog.get_logger()

POOL = 50
SELECTION_MS = 2_000
PING_SECONDS = 3.0
SOCKET_MS = 10_000
COMMIT_MS = 5_000
TRANSACTION_SECONDS = 10.0
"""For all attempts of a transaction together: less than the 15 s that the gateway waits for an answer."""

DuplicateKey = DuplicateKeyError

DATABASE_UNAVAILABLE: tuple[type[Exception], ...] = (
    ConnectionFailure,
    ServerSelectionTimeoutError,
    NetworkTimeout,
    ExecutionTimeout,
    WTimeoutError,
)
"""Errors that mean «away», not «wrong»: callers get 503, consumers pause."""

_WRITE_CONFLICT = 112
# Not primary, shutting down, stepping down: the server is there, but cannot serve.
_NOT_SERVING = frozenset({91, 189, 10107, 11600, 11602, 13435, 13436})


def is_unavailable(error: BaseException) -> bool:
    """Tell whether ``error`` says that the database is away for now."""
    if isinstance(error, DATABASE_UNAVAILABLE):
        return True
    return isinstance(error, OperationFailure) and error.code in _NOT_SERVING


def is_write_conflict(error: BaseException) -> bool:
    """Tell whether another open transaction holds the document that this one wanted to write."""
    return isinstance(error, OperationFailure) and error.code == _WRITE_CONFLICT


def within(seconds: float) -> AbstractContextManager[None]:
    """Give everything that is asked of the database inside the block so many seconds together.

    Raises one of DATABASE_UNAVAILABLE when they are over.
    """
    return pymongo.timeout(seconds)


class Claim(Protocol):
    """Something that a transaction takes as its first act and settles as its last (an idempotency key)."""

    async def begin(self, tx: Transaction) -> None: ...

    async def settle(self, tx: Transaction, result: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Index:
    """An index to have: keys in order (``("slug", 1)``), and MongoDB's own options."""

    keys: Sequence[tuple[str, int]]
    options: Mapping[str, Any] = field(default_factory=dict)


_open = Gauge("dezky_mongo_connections_open", "Connections to MongoDB, those in use included", ["client"])
_in_use = Gauge("dezky_mongo_connections_in_use", "Connections to MongoDB that an operation has", ["client"])
_limit = Gauge("dezky_mongo_connections_limit", "Connections to a server that a client may have", ["client"])
_refused = Counter("dezky_mongo_checkout_failures_total", "Connections not had in time, or at all", ["client"])
_waited = Histogram(
    "dezky_mongo_checkout_seconds",
    "Time until an operation has a connection",
    ["client"],
    buckets=(0.0001, 0.001, 0.01, 0.1, 0.5, 1, 2),
)


class _PoolWatch(ConnectionPoolListener):
    """Counts what the driver says of the pools of one client; its heartbeats have connections of their own."""

    def __init__(self, client: str) -> None:
        _limit.labels(client).set(POOL)
        self._open, self._in_use = _open.labels(client), _in_use.labels(client)
        self._refused, self._waited = _refused.labels(client), _waited.labels(client)

    def connection_created(self, _: ConnectionCreatedEvent) -> None:
        self._open.inc()

    def connection_closed(self, _: ConnectionClosedEvent) -> None:
        self._open.dec()

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        self._in_use.inc()
        self._waited.observe(event.duration or 0.0)

    def connection_checked_in(self, _: ConnectionCheckedInEvent) -> None:
        self._in_use.dec()

    def connection_check_out_failed(self, _: ConnectionCheckOutFailedEvent) -> None:
        self._refused.inc()

    def connection_ready(self, _: ConnectionReadyEvent) -> None:
        """Nothing to count: it was created, and is checked out next."""

    def connection_check_out_started(self, _: ConnectionCheckOutStartedEvent) -> None:
        """Nothing to count: how long it took is said at its end."""

    def pool_created(self, _: PoolCreatedEvent) -> None:
        """Nothing to count, as below: a pool is empty before its first connection."""

    def pool_ready(self, _: PoolReadyEvent) -> None: ...

    def pool_cleared(self, _: PoolClearedEvent) -> None: ...

    def pool_closed(self, _: PoolClosedEvent) -> None: ...


class Mongo:
    """A service's own database: ``w: majority``, journaled, majority reads, aware datetimes."""

    def __init__(self, uri: str, database: str, app_name: str) -> None:
        self.client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            appname=app_name,
            serverSelectionTimeoutMS=SELECTION_MS,
            connectTimeoutMS=SELECTION_MS,
            socketTimeoutMS=SOCKET_MS,
            maxPoolSize=POOL,
            event_listeners=[_PoolWatch(app_name)],
            waitQueueTimeoutMS=SELECTION_MS,
            retryWrites=True,
            retryReads=True,
            heartbeatFrequencyMS=2_000,
        )
        self.db: Database = self.client.get_database(
            database,
            codec_options=CodecOptions(tz_aware=True),
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )
        self.transactions = Transactions(self.client)

    async def ping(self, within: float = PING_SECONDS) -> None:
        """Raise one of ``DATABASE_UNAVAILABLE`` unless a primary answers within so many seconds.

        The deadline is the driver's own, and whoever gives up waiting does not cancel it: a cancellation that meets the
        driver looking for a server can leave the lock of its topology taken for good (seen with PyMongo 4.20 on
        Python 3.11), and then the client never finds a server again.
        """
        asking = asyncio.create_task(self._ping(within), name="mongo.ping")
        asking.add_done_callback(_read)
        await asyncio.shield(asking)

    async def _ping(self, seconds: float) -> None:
        with within(seconds):
            await self.db.command("ping", read_preference=ReadPreference.PRIMARY)

    async def ensure_indexes(self, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Create what is missing of ``{collection: indexes}``; does nothing for what exists."""
        for collection, wanted in indexes.items():
            models = [IndexModel(list(index.keys), **index.options) for index in wanted]
            if models:
                await self.db[collection].create_indexes(models)

    async def close(self) -> None:
        await self.client.close()


class Transactions:
    """Runs a body in a transaction and repeats it as the driver's specification says.

    The body may run more than once, so it must not call anything outside the database.
    """

    def __init__(self, client: AsyncMongoClient[Document]) -> None:
        self._client = client

    async def run(
        self,
        body: Callable[[Transaction], Awaitable[T]],
        claim: Claim | None = None,
        *,
        seconds: float = TRANSACTION_SECONDS,
    ) -> T:
        """Return what ``body`` returned in the run that committed.

        A ``TransientTransactionError`` repeats the body, an ``UnknownTransactionCommitResult`` the commit, for at
        most so many seconds; every other error aborts and is raised.

        Raises:
            one of DATABASE_UNAVAILABLE: it did not commit, or the database went away before it said so. Whoever was
                in conflict for all that time sees this or the last conflict, as the moment has it.
        """

        async def attempt(tx: Transaction) -> T:
            if claim is not None:
                await claim.begin(tx)
            result = await body(tx)
            if claim is not None:
                await claim.settle(tx, result)
            return result

        if not self._client.topology_description.has_writable_server():
            # Inside the deadline below the driver looks for a server until the deadline; here, for SELECTION_MS.
            await self._client.admin.command("ping")
        with within(seconds):
            return await self._attempt(attempt)

    async def _attempt(self, attempt: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._client.start_session() as session:
            return await session.with_transaction(
                attempt,
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority", j=True),
                read_preference=ReadPreference.PRIMARY,
                max_commit_time_ms=COMMIT_MS,
            )


def _read(asking: asyncio.Task[None]) -> None:
    """Take note of how it ended: nobody else does where nobody waited to the end."""
    if not asking.cancelled():
        asking.exception()


async def wait_until_available(mongo: Mongo, *, pause_seconds: float = 0.5) -> None:
    """Return once the database answers; says so once when it first does not."""
    said = False
    while True:
        try:
            await mongo.ping()
        except (PyMongoError, TimeoutError) as error:
            if not said:
                log.warning("mongo.unavailable", error=type(error).__name__)
                said = True
            await asyncio.sleep(pause_seconds)
        else:
            if said:
                log.info("mongo.available")
            return


def starts_with(text: str) -> Document:
    """Return a filter for values that begin with ``text``, taken literally; an index can serve it."""
    return {"$regex": f"^{re.escape(text)}"}
