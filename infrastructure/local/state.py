"""What the supervisor knows of its children, in one file that `status`, `up` and `down` read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infrastructure.local.place import Place
from infrastructure.local.private_files import read_json_object, write_private_json
from infrastructure.local.servers.child import ProcessId

STARTING, READY, UNREADY, RESTARTING, STOPPED = "starting", "ready", "not ready", "restarting", "stopped"


@dataclass
class ProcessState:
    """One child as last seen.

    Attributes:
        since: when `state` began, Unix seconds.
        seconds: from its latest start until it was ready; None before.
        restarts: how often it was started again since the fleet came up.
        problem: the last reason why it is not ready, in words.
    """

    name: str
    port: int
    required: bool
    identity: ProcessId | None
    state: str
    since: float
    seconds: float | None = None
    restarts: int = 0
    problem: str = ""


@dataclass
class FleetState:
    """The whole fleet. `obstacle` and `remedy` are what makes the supervisor give up, and what to do about it."""

    supervisor: ProcessId
    port_base: int
    started: float
    processes: list[ProcessState]
    obstacle: str = ""
    remedy: str = ""

    @property
    def ready(self) -> bool:
        """True when every required process is ready."""
        return all(process.state == READY for process in self.processes if process.required)

    @property
    def identities(self) -> dict[str, ProcessId]:
        """The recorded process of each child that has one."""
        return {process.name: process.identity for process in self.processes if process.identity}

    def save(self, place: Place) -> None:
        """Replaces the file in one step."""
        write_private_json(_file(place), asdict(self))


def load(place: Place) -> FleetState | None:
    """The last saved state, whoever wrote it; None when there is none. Raises Obstacle when it is damaged."""
    remedy = f"Run `make down`, and if processes are left over, end those whose logs are in {place.logs}"
    content = read_json_object(_file(place), remedy)
    return _parse(content) if content else None


def _parse(content: dict[str, Any]) -> FleetState:
    processes = [
        ProcessState(**entry | {"identity": ProcessId(**entry["identity"]) if entry["identity"] else None})
        for entry in content["processes"]
    ]
    supervisor = ProcessId(**content["supervisor"])
    return FleetState(**content | {"supervisor": supervisor, "processes": processes})


def forget(place: Place) -> None:
    """Removes the file: nothing runs any more."""
    _file(place).unlink(missing_ok=True)


def _file(place: Place) -> Path:
    return place.state / "fleet.json"


@contextmanager
def only_one(place: Place, purpose: str, *, wait: bool) -> Iterator[bool]:
    """Holds a lock of the fleet's folder, which the kernel drops with the process; yields whether it has it."""
    handle = os.open(place.state / f"{purpose}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
