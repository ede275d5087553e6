"""Backing up the fleet of this machine, and restoring it into a state folder without databases."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from infrastructure.backup import cli, erasures, keys
from infrastructure.backup.backing_up import back_up as write_backup
from infrastructure.backup.deployment import Deployment
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import described
from infrastructure.backup.restoring import restore as read_backup
from infrastructure.local import lifecycle, ports, state
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.place import Place
from infrastructure.local.processes import MONGOD_OFFSET, NATS_MONITOR_OFFSET, nats_url
from infrastructure.local.readiness import ADMIN
from infrastructure.local.servers.child import end, last_line, spawn
from infrastructure.local.servers.mongod import initialise, mongod_command, root_uri
from infrastructure.local.servers.nats import is_healthy, nats_command
from shared.clock import SystemClock

DERIVED = frozenset({"nats.conf", "authentik-seed.json", "stalwart-seed.json", "ocis-seed.json", "s3.json"})
"""What `lifecycle.configure` writes anew at each start, with the ports of the place."""

_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


def back_up(place: Place, target: Path | None, key_file: Path | None) -> str:
    """Backs up the running fleet; returns what there is to say. Raises Obstacle.

    By default into a new folder of `backups`, named by the time, with its keys in `backups-keys`.
    """
    _require_running(place)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = target or place.backups / stamp
    packed = key_file or key_file_of(place, folder)
    credentials = lifecycle.credentials_of(place)
    try:
        manifest = asyncio.run(
            write_backup(
                deployment_of(place, credentials),
                folder,
                place.erasures,
                SystemClock(),
                keys.Packing(place.secrets, packed, DERIVED),
            )
        )
    except Refused as refused:
        raise Obstacle(refused.reason, refused.remedy) from refused
    return (
        f"{cli.made_known(manifest)}\nBackup: {folder}\nKeys: {packed}. Keep them apart: together they open everything"
    )


def write_erasures(place: Place) -> str:
    """Brings the list of the erased up to date; returns what there is to say. Raises Obstacle."""
    _require_running(place)
    deployment = deployment_of(place, lifecycle.credentials_of(place))
    try:
        people = asyncio.run(erasures.write_down(deployment, place.erasures))
    except Refused as refused:
        raise Obstacle(refused.reason, refused.remedy) from refused
    return f"{people} people are in {place.erasures}"


def restore(place: Place, source: Path, key_file: Path | None) -> str:
    """Restores into empty servers, which run only for that; returns what there is to say. Raises Obstacle.

    What breaks off leaves no database behind, and what is killed is removed by the next attempt.
    """
    if place.state.is_dir() and lifecycle.running(place) is not None:
        raise Obstacle("The fleet is running", "Run `make down` first: a restore wants empty servers and no service")
    place.prepare()
    with state.only_one(place, "up", wait=False) as mine:
        if not mine:
            raise Obstacle("The fleet is being started, or restored", "Wait until that has ended")
        try:
            _require_no_databases(place)
            manifest = described(source)
            packed = key_file or key_file_of(place, source)
            if manifest.keys is not None:
                keys.restore(packed, manifest.keys, place.secrets)
            with _unfinished(place), _servers(place) as deployment:
                done = asyncio.run(read_backup(deployment, source, place.erasures, SystemClock()))
        except Refused as refused:
            raise Obstacle(refused.reason, refused.remedy) from refused
        except StartFailed as failed:
            raise Obstacle(str(failed), f"Look into {place.logs}") from failed
    return f"{cli.done_known(done)}: `make up`"


def deployment_of(place: Place, credentials: Credentials) -> Deployment:
    """The fleet's own servers, as their administrators open them."""
    return Deployment(
        root_uri(place.port(MONGOD_OFFSET), credentials.mongo["root"]), nats_url(place, credentials, ADMIN)
    )


def key_file_of(place: Place, folder: Path) -> Path:
    """Where the keys of a backup are, unless somebody says otherwise."""
    return place.backups.with_name("backups-keys") / f"{folder.name}.tar"


def _require_running(place: Place) -> None:
    if not place.state.is_dir() or lifecycle.running(place) is None:
        raise Obstacle("The fleet is not running", "Run `make up` first: what runs is backed up")


def _data(place: Place) -> tuple[Path, Path]:
    return place.state / "mongod", place.state / "nats"


def _require_no_databases(place: Place) -> None:
    if place.unfinished_restore.exists():
        _remove_databases(place)
    for folder in _data(place):
        if folder.is_dir() and any(folder.iterdir()):
            raise Obstacle(
                f"{folder} holds data", "A restore replaces nothing: move it away, or set DEZKY_HOME to another folder"
            )


def _remove_databases(place: Place) -> None:
    for folder in _data(place):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unfinished(place: Place) -> Iterator[None]:
    """Until the end, the fleet cannot be started; what was not finished is removed."""
    place.unfinished_restore.touch(mode=0o600)
    try:
        yield
    except BaseException:
        _remove_databases(place)
        raise
    finally:
        place.unfinished_restore.unlink()


@contextmanager
def _servers(place: Place) -> Iterator[Deployment]:
    """MongoDB and NATS of the fleet with their administrators, and no service."""
    credentials = lifecycle.credentials_of(place)
    ports.require_free(place)
    lifecycle.configure(place, credentials)
    running: list[subprocess.Popen[bytes]] = []
    try:
        mongod = mongod_command(place.state / "mongod", place.port(MONGOD_OFFSET), place.secrets / "mongod.key")
        for name, command in (("mongod", mongod), ("nats", nats_command(place.secrets / "nats.conf"))):
            running.append(spawn(command, log=place.log(name)))
        initialise(
            place.port(MONGOD_OFFSET),
            credentials.mongo["root"],
            _READY_SECONDS,
            still_running=lambda: running[0].poll() is None,
        )
        _await_nats(place, running[1])
        yield deployment_of(place, credentials)
    finally:
        for server in running:
            end(server, _STOP_SECONDS)


def _await_nats(place: Place, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not is_healthy(place.port(NATS_MONITOR_OFFSET)):
        if server.poll() is not None or time.monotonic() > deadline:
            raise StartFailed(f"nats-server is not ready: {last_line(place.log('nats'))}")
        time.sleep(_POLL_SECONDS)
