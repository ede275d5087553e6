"""Bringing the fleet up and taking it down, whatever state it was left in."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from infrastructure.bootstrap.database_access import USERS
from infrastructure.local import ports, seeds, state
from infrastructure.local.credentials import Credentials, load_or_create
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.place import ROOT, Place
from infrastructure.local.private_files import write_private
from infrastructure.local.processes import (
    NATS_MONITOR_OFFSET,
    NATS_OFFSET,
    NATS_USERS,
    PROCESSES,
    stop_order,
)
from infrastructure.local.readiness import ADMIN, nats_users
from infrastructure.local.servers import binaries
from infrastructure.local.servers.child import ProcessId, last_line
from infrastructure.local.servers.mongod import write_key_file
from infrastructure.local.servers.nats import render_config

READY_SECONDS = 240.0
GIVE_UP_AFTER_RESTARTS = 5
_SUPERVISOR_STOP_SECONDS = 60.0
_ORPHAN_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
GRACE_SECONDS = {process.name: process.grace_seconds for process in PROCESSES}

Show = Callable[[state.FleetState], None]


def credentials_of(place: Place) -> Credentials:
    """The fleet's secrets, generated where they are missing. Raises Obstacle."""
    return load_or_create(
        place.secrets,
        mongo=("root", *(user.name for user in USERS)),
        nats=(ADMIN, *NATS_USERS),
        signing=NATS_USERS,
        authentik=(seeds.API_TOKEN, seeds.SUITE, *(seeds.client_id(surface) for surface in seeds.SURFACES)),
        people=[person.username for person in seeds.demo_people()],
    )


def running(place: Place) -> state.FleetState | None:
    """The state of a fleet whose supervisor lives; None when there is none. Raises Obstacle."""
    fleet = state.load(place)
    return fleet if fleet is not None and fleet.supervisor.alive() else None


def up(place: Place, show: Show) -> bool:
    """Starts the fleet and returns when all that is required is ready: False when it was already.

    Raises Obstacle (nothing is left running) and StartFailed (likewise).
    """
    place.prepare()
    with state.only_one(place, "up", wait=True):
        fleet = running(place)
        if fleet is not None and fleet.port_base != place.port_base:
            raise Obstacle(
                f"The fleet of {place.home} runs already, at DEZKY_PORT_BASE={fleet.port_base}",
                "Run `make down` first, or set DEZKY_HOME to another folder for a second fleet",
            )
        if fleet is not None and fleet.ready:
            return False
        supervisor = None if fleet is not None else _start(place)
        try:
            _await_ready(place, supervisor, show)
        except BaseException:
            down(place)
            raise
        return True


def _start(place: Place) -> "subprocess.Popen[bytes]":
    if place.unfinished_restore.exists():
        raise Obstacle("A restore was interrupted: the databases are not whole", "Run `make restore FROM=…` again")
    down(place)  # children of a supervisor that was killed
    binaries.mongod_binary()
    binaries.nats_binary()
    ports.require_free(place)
    configure(place, credentials_of(place))
    with place.log("supervisor").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "infrastructure.local", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"DEZKY_HOME": str(place.home), "DEZKY_PORT_BASE": str(place.port_base)},
            start_new_session=True,
        )


def configure(place: Place, credentials: Credentials) -> None:
    """Writes everything that the children read from files. Raises Obstacle."""
    try:
        (place.state / "mongod").mkdir(mode=0o700, exist_ok=True)
        write_key_file(place.secrets / "mongod.key")
        seeds.write(place, credentials)
        config = render_config(
            place.port(NATS_OFFSET),
            place.port(NATS_MONITOR_OFFSET),
            place.state / "nats",
            nats_users(credentials),
        )
        write_private(place.secrets / "nats.conf", config)
    except OSError as refused:
        raise Obstacle(
            f"The state folder cannot be written: {refused.strerror} ({refused.filename})",
            "Free or own that path, or set DEZKY_HOME to another folder",
        ) from refused


def _await_ready(place: Place, supervisor: "subprocess.Popen[bytes] | None", show: Show) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        fleet = state.load(place)
        if fleet is not None:
            if fleet.obstacle:
                raise Obstacle(fleet.obstacle, fleet.remedy)
            show(fleet)
            if fleet.ready:
                return
            _give_up_on_the_hopeless(place, fleet)
        _require_supervisor(place, supervisor, fleet)
        if time.monotonic() > deadline:
            late = [process.name for process in fleet.processes if process.state != state.READY] if fleet else []
            raise StartFailed(f"Not ready after {READY_SECONDS:.0f} s: {', '.join(late)}. See {place.logs}")
        time.sleep(_POLL_SECONDS)


def _give_up_on_the_hopeless(place: Place, fleet: state.FleetState) -> None:
    for process in fleet.processes:
        if process.required and process.restarts >= GIVE_UP_AFTER_RESTARTS:
            path = place.log(process.name)
            times = f"{process.name} ended {process.restarts} times, last: {process.problem}"
            raise StartFailed(f"{times}. {last_line(path)} (more in {path})")


def _require_supervisor(
    place: Place, supervisor: "subprocess.Popen[bytes] | None", fleet: state.FleetState | None
) -> None:
    ended = supervisor.poll() is not None if supervisor else not (fleet and fleet.supervisor.alive())
    last_words = state.load(place) if ended else None
    if ended and not (last_words and last_words.obstacle):
        path = place.log("supervisor")
        raise StartFailed(f"The supervisor ended while the fleet was starting. {last_line(path)} (more in {path})")


def down(place: Place) -> list[str]:
    """Ends the fleet and whatever a killed supervisor left; returns the names that were running. Safe to repeat.

    Raises StartFailed when a process survives even SIGKILL.
    """
    fleet = state.load(place) if place.state.is_dir() else None
    if fleet is None:
        return []
    alive = [name for name, identity in fleet.identities.items() if identity.alive()]
    if fleet.supervisor.signal(signal.SIGTERM):
        alive.append("supervisor")
        if not fleet.supervisor.wait_gone(_SUPERVISOR_STOP_SECONDS):
            fleet.supervisor.signal(signal.SIGKILL)
            fleet.supervisor.wait_gone(_SUPERVISOR_STOP_SECONDS)
    fleet = state.load(place) or fleet  # the supervisor may have started a child again in the meantime
    for group in stop_order():
        _end({name: fleet.identities[name] for name in group if name in fleet.identities})
    survivors = [name for name, identity in fleet.identities.items() if identity.alive()]
    if survivors:
        raise StartFailed(f"These processes cannot be ended: {', '.join(survivors)}")
    state.forget(place)
    return alive


def _end(group: Mapping[str, ProcessId]) -> None:
    """SIGTERM to all, and SIGKILL to each whose own grace is over."""
    for identity in group.values():
        identity.signal(signal.SIGTERM)
    began = time.monotonic()
    for name, identity in group.items():
        if not identity.wait_gone(max(0.0, began + GRACE_SECONDS[name] - time.monotonic())):
            identity.signal(signal.SIGKILL)
            identity.wait_gone(_ORPHAN_STOP_SECONDS)


def unknown_processes(names: list[str]) -> list[str]:
    """Those of the names that no process of the fleet has; the supervisor counts as one."""
    return [name for name in names if name not in {"supervisor", *(process.name for process in PROCESSES)}]
