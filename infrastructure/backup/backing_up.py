"""Making a backup: streams first, then the databases at one later moment, then the list of the erased."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError

from infrastructure.backup import databases, erasures, keys, streams
from infrastructure.backup.deployment import Deployment
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import Draft
from infrastructure.backup.manifest import Manifest
from shared.clock import Clock


async def back_up(
    deployment: Deployment, target: Path, erased: Path, clock: Clock, packing: keys.Packing | None = None
) -> Manifest:
    """Write a backup into the new folder `target` while everything serves; return what it says of itself.

    `erased` is the list of the erased, which is brought up to date. `packing` says which keys go
    where. What fails leaves nothing under `target`.

    Raises:
        Refused
    """
    _require_apart(target, erased, packing)
    draft = Draft(target)
    try:
        manifest = await _write(deployment, draft, erased, clock, packing)
        draft.finish(manifest)
    except (PyMongoError, NatsError, OSError) as error:
        raise Refused(f"The backup broke off: {error!r}", "See to it, then try again") from error
    finally:
        draft.drop()
    return manifest


def _require_apart(target: Path, erased: Path, packing: keys.Packing | None) -> None:
    places = {"The list of the erased": erased} | ({"The file of keys": packing.file} if packing is not None else {})
    for what, path in places.items():
        if path.resolve().is_relative_to(target.resolve()):
            raise Refused(f"{what} would lie inside the backup, {target}", "Name another place for it")


async def _write(
    deployment: Deployment, draft: Draft, erased: Path, clock: Clock, packing: keys.Packing | None
) -> Manifest:
    streams_at = clock.now()
    async with streams.connected(deployment) as nats:
        stream_copies = await streams.copy(nats, deployment.topology, draft)
        version = nats.connected_server_version
    copied = await asyncio.to_thread(_copy_databases, deployment, draft)
    people = await erasures.write_down(deployment, erased)
    return Manifest(
        streams_at=streams_at,
        mongo_at=copied.moment,
        versions={"mongodb": copied.version, "nats": str(version)},
        collections=copied.collections,
        streams=stream_copies,
        left_out=copied.left_out,
        erasures=people,
        keys=None if packing is None else keys.copy(packing),
    )


def _copy_databases(deployment: Deployment, draft: Draft) -> databases.Copied:
    with deployment.mongo() as client:
        return databases.copy(client, deployment.databases, draft)
