"""The parts by name, in the order in which they run: each settings → its steps, or one line that it is skipped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pymongo import MongoClient

from infrastructure.bootstrap import database_access, nats_monitor, object_store, streams
from infrastructure.bootstrap.authentik import settle as settle_authentik
from infrastructure.bootstrap.replica_set import ReplicaSet, establish
from infrastructure.bootstrap.reports import NotReady, Outcome, Report
from infrastructure.bootstrap.settings import BootstrapSettings
from shared.topology import Topology

_ANSWER_MS = 5_000


async def mongo(settings: BootstrapSettings) -> AsyncIterator[Report]:
    """The replica set, its root user, and the services' roles and users."""
    if not settings.mongo_members:
        yield _skipped("BOOTSTRAP_MONGO_MEMBERS")
        return
    password = settings.mongo_root_password.get_secret_value()
    wanted = ReplicaSet(settings.mongo_replica_set, settings.mongo_members, password, settings.mongo_root_user)
    for report in establish(wanted, settings.wait_seconds):
        yield report
    with MongoClient[dict[str, Any]](
        list(wanted.members),
        replicaSet=wanted.name,
        username=wanted.root,
        password=wanted.password,
        authSource="admin",
        serverSelectionTimeoutMS=settings.wait_seconds * 1_000,
        socketTimeoutMS=_ANSWER_MS,
    ) as root:
        root.admin.command("ping")
        for report in database_access.settle(root, settings.mongo_passwords()):
            yield report
    if not settings.audit_archiver_mongo_uri.get_secret_value():
        yield Report("user audit.audit_archiver (AUDIT_ARCHIVER_MONGO_URI is not set)", Outcome.SKIPPED)


async def nats(settings: BootstrapSettings) -> AsyncIterator[Report]:
    """Streams, buckets and consumers; users and permissions are in the server's own configuration."""
    url = settings.nats_url.get_secret_value()
    if not url:
        yield _skipped("BOOTSTRAP_NATS_URL")
        return
    connection = await streams.connect(url, settings.wait_seconds)
    try:
        if settings.nats_monitor:
            yield await _synced(settings.nats_monitor)
        async for report in streams.settle(connection, Topology(settings.nats_prefix), settings.nats_replicas):
            yield report
    finally:
        await connection.close()


async def _synced(monitor: str) -> Report:
    try:
        return await asyncio.to_thread(nats_monitor.require_sync, monitor)
    except OSError as failed:
        raise NotReady(f"NATS's monitor does not answer: {failed}", "Look at BOOTSTRAP_NATS_MONITOR") from failed


async def s3(settings: BootstrapSettings) -> AsyncIterator[Report]:
    """The buckets of archives and of the witness."""
    if not settings.s3_endpoint:
        yield _skipped("AUDIT_COLD_ENDPOINT")
        return
    buckets = (settings.archive_bucket, settings.witness_bucket)
    async with object_store.client(settings.s3_endpoint, settings.s3_region, *settings.s3_keys()) as store:
        async for report in object_store.settle(store, buckets, settings.wait_seconds):
            yield report


async def authentik(settings: BootstrapSettings) -> AsyncIterator[Report]:
    """Groups, applications, the services' API tokens and the first operator."""
    if not settings.authentik_url:
        yield _skipped("BOOTSTRAP_AUTHENTIK_URL")
        return
    async for report in settle_authentik(settings):
        yield report


def _skipped(variable: str) -> Report:
    return Report(f"everything ({variable} is not set)", Outcome.SKIPPED)


PARTS: Mapping[str, Callable[[BootstrapSettings], AsyncIterator[Report]]] = {
    "mongo": mongo,
    "nats": nats,
    "s3": s3,
    "authentik": authentik,
}
