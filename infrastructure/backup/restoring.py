"""Restoring a backup into servers that hold nothing, with no service running."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError

from infrastructure.backup import databases, streams, telling
from infrastructure.backup.deployment import Deployment
from infrastructure.backup.erasures import ErasureList
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import opened
from infrastructure.backup.forgetting import forget_again
from infrastructure.backup.manifest import Manifest
from services.audit.erasing import Erasure
from shared.clock import Clock


@dataclass(frozen=True)
class Restored:
    """What was done.

    Attributes:
        people: how many are erased.
        from_the_start: consumers that hear all of the stream again.
    """

    manifest: Manifest
    people: int
    from_the_start: list[str]


async def restore(deployment: Deployment, source: Path, erased: Path, clock: Clock) -> Restored:
    """Verify the backup, restore databases and streams, and erase again whoever was erased.

    Everything is verified, and both servers are seen to be empty, before anything is written. What breaks off later
    leaves servers that are not empty: no service may be started on them; empty them and restore again.

    Raises:
        Refused
    """
    try:
        async with streams.connected(deployment) as nats:
            manifest, listed = await asyncio.to_thread(_verified, deployment, source, erased)
            await streams.require_empty(nats, deployment.topology)
    except (PyMongoError, NatsError) as error:
        raise Refused(f"The servers do not answer: {error}", "Start both, and nothing else, then try again") from error
    try:
        await asyncio.to_thread(_load, deployment, manifest, source, clock.now())
        people = await forget_again(deployment, listed, clock)
        # A connection of its own: the databases may take an hour.
        async with streams.connected(deployment) as nats:
            from_the_start = await streams.restore(nats, deployment, manifest.streams, source)
    except (Refused, PyMongoError, NatsError, OSError) as error:
        raise Refused(
            f"The restore broke off, and what it has written is of no use: {error}",
            "Start no service; empty both servers, see to the reason, and restore again",
        ) from error
    return Restored(manifest, people, from_the_start)


def _verified(deployment: Deployment, source: Path, erased: Path) -> tuple[Manifest, list[Erasure]]:
    manifest = opened(source)
    if unknown := sorted({copied.service for copied in manifest.collections} - deployment.databases.keys()):
        raise Refused(f"The backup holds {unknown[0]}, and BACKUP_DATABASES names no database for it", "Name one there")
    listed = ErasureList(erased).people()
    if len({erasure.person for erasure in listed}) < manifest.erasures:
        raise Refused(
            f"{erased} names {len(listed)} people, and named {manifest.erasures} when the backup was made",
            "Bring the newest copy of that list: it only grows",
        )
    with deployment.mongo() as client:
        databases.require_empty(client, deployment.databases)
    return manifest, listed


def _load(deployment: Deployment, manifest: Manifest, source: Path, now: datetime) -> None:
    changes = telling.changes(manifest.streams_at, now)
    with deployment.mongo() as client:
        for copied in manifest.collections:
            database = deployment.databases[copied.service]
            databases.load(client, database, copied, source, changes.get(copied.name))
