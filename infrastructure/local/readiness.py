"""What must be true before a process counts as ready, and the work that makes it so."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from infrastructure.bootstrap.reports import ByHand
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from infrastructure.local.processes import MONGOD_OFFSET, NATS_MONITOR_OFFSET, NATS_USERS, Process, nats_url
from infrastructure.local.seeds import ARCHIVE_BUCKET, S3_OFFSET, witness_bucket
from infrastructure.local.servers.nats import NatsUser
from infrastructure.local.webhooks import prepare_stalwart

_TIMEOUT_SECONDS = 2.0
_PREPARE_SECONDS = 5.0  # a stop has to wait for it; what is not done by then is tried again
_READY_STATUS = (b"200", b"204")
ADMIN = "admin"

Prepare = Callable[[Place, Credentials], Awaitable[None]]


async def problem_of(process: Process, place: Place) -> str:
    """Why the process is not ready, in words; empty when it is. Never raises, never takes over two seconds."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            offset = process.offset if process.ready_offset is None else process.ready_offset
            return await _ask(place.port(offset), process.ready_path)
    except TimeoutError:
        return "does not answer in time"
    except OSError:
        return "does not listen yet"


async def _ask(port: int, path: str | None) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if path is None:
            return ""
        # HTTP/1.0, so that the server closes and neither chunks nor keeps alive (RFC 1945).
        writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode("ascii"))
        status = (await reader.readline()).split()
        if len(status) > 1 and status[1] in _READY_STATUS:
            return ""
        return f"{path} answers {status[1].decode('ascii', 'replace') if len(status) > 1 else 'nothing'}"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def prepare_mongod(place: Place, credentials: Credentials) -> None:
    """Makes mongod a primary with every user and role in place."""
    await asyncio.to_thread(_open_databases, place, credentials)


def _open_databases(place: Place, credentials: Credentials) -> None:
    from pymongo import MongoClient  # noqa: PLC0415 - a third of the supervisor's start, needed here only

    from infrastructure.bootstrap import database_access  # noqa: PLC0415
    from infrastructure.local.servers.mongod import initialise, root_uri  # noqa: PLC0415

    port, password = place.port(MONGOD_OFFSET), credentials.mongo["root"]
    initialise(port, password, _PREPARE_SECONDS)
    client: MongoClient[dict[str, Any]] = MongoClient(root_uri(port, password), serverSelectionTimeoutMS=5000)
    with client:
        database_access.apply(client, credentials.mongo)


async def prepare_nats(place: Place, credentials: Credentials) -> None:
    """Creates the streams and consumers, after making sure that JetStream syncs before it acknowledges."""
    from infrastructure.bootstrap import nats_monitor, streams  # noqa: PLC0415
    from shared.topology import Topology  # noqa: PLC0415

    try:
        await asyncio.to_thread(nats_monitor.require_sync, place.url(NATS_MONITOR_OFFSET))
    except ByHand as refused:
        remedy = "Unset DEZKY_NATS_SERVER, or set it to nats-server 2.12 or newer"
        raise Obstacle(refused.reason, remedy) from refused
    connection = await streams.connect(nats_url(place, credentials, ADMIN), _PREPARE_SECONDS)
    try:
        await streams.ensure(connection, Topology())
    finally:
        await connection.close()


async def prepare_s3(place: Place, credentials: Credentials) -> None:
    """Makes the buckets, and stores an object with a real signature: the health page comes up before writes work."""
    from infrastructure.bootstrap import object_store  # noqa: PLC0415 - a second of the supervisor's start

    keys = credentials.suite["s3-access"], credentials.suite["s3-secret"]
    async with object_store.client(place.url(S3_OFFSET), "local", *keys) as s3:
        with contextlib.suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
            await s3.create_bucket(Bucket="dezky-readiness")
        await s3.put_object(Bucket="dezky-readiness", Key="probe", Body=b"ready")
        async for _ in object_store.settle(s3, (ARCHIVE_BUCKET, witness_bucket()), _PREPARE_SECONDS):
            continue


PREPARE: Mapping[str, Prepare] = {
    "mongod": prepare_mongod,
    "nats": prepare_nats,
    "s3": prepare_s3,
    "stalwart": prepare_stalwart,
}


def nats_users(credentials: Credentials) -> list[NatsUser]:
    """A user per process with the subjects of its row in the topology, and the administrator."""
    from shared.topology import Topology  # noqa: PLC0415

    topology = Topology()
    users = [NatsUser(ADMIN, credentials.nats[ADMIN])]
    for name in NATS_USERS:
        allowed = topology.permissions(name)
        users.append(NatsUser(name, credentials.nats[name], allowed["publish"], allowed["subscribe"]))
    return users
