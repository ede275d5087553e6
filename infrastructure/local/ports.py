"""Ports that something else listens on, and who that is."""

import errno
import socket
from pathlib import Path

from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from infrastructure.local.processes import PROCESSES

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def require_free(place: Place) -> None:
    """Raises Obstacle naming the first port of the fleet that is taken, and the process that has it."""
    for process in PROCESSES:
        for use, offset in process.offsets.items():
            port = place.port(offset)
            if is_taken(port):
                holder = _holder(port)
                raise Obstacle(
                    f"Port {port} ({use}) is taken" + (f" by {holder}" if holder else ""),
                    "End that process, or choose other ports: DEZKY_PORT_BASE=9080 make up",
                )


def is_taken(port: int) -> bool:
    """True when a server on 127.0.0.1 could not listen on the port."""
    with socket.socket() as trial:
        # As the servers do: connections of an earlier fleet that are in TIME_WAIT do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as refused:
            if refused.errno in {errno.EADDRINUSE, errno.EACCES}:
                return True
            raise
    return False


def _holder(port: int) -> str:
    """Name and pid of the process that listens on the port, as far as this user may see it (proc(5))."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(_target(handle) in inodes for handle in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        except OSError:  # another user's, or gone in the meantime
            continue
    return ""


def _target(handle: Path) -> str:
    """What an open file of a process is; empty if it was closed since, as the one by which this process looks is."""
    try:
        return str(handle.readlink())
    except FileNotFoundError:
        return ""


def _listening_inodes(port: int) -> list[str]:
    found = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found
