"""Starting the embedded fleet warm: the seconds that `make up` takes, and the memory of all its processes.

The first start makes state, secrets and users and does not count. Memory is proportional (PSS: a page that five
processes share counts a fifth in each), a few seconds after the start, of the fleet and its supervisor. No core is
pinned.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from statistics import median

from benchmarks.machine import whole_machine
from benchmarks.processes import NotStarted, python
from benchmarks.report import Bound, Figure
from benchmarks.setting import Setting
from infrastructure.local import lifecycle, ports
from infrastructure.local.place import ROOT, Place
from infrastructure.local.processes import PROCESSES

_SETTLED_SECONDS = 3.0


async def measure(setting: Setting) -> Figure:
    """Return seconds and gibibytes."""
    figure = Figure("fleet", "Embedded fleet: a warm start")
    place = Place(setting.folder / "home", _free_base())
    took: list[float] = []
    memory: dict[str, int] = {}
    with whole_machine():
        _command(place, "up")
        try:
            for _ in range(setting.sized(3, 1)):
                _command(place, "down")
                began = time.monotonic()
                _command(place, "up")
                took.append(time.monotonic() - began)
            await asyncio.sleep(_SETTLED_SECONDS)
            memory = _memory(place)
        finally:
            _command(place, "down")
    total = sum(memory.values())
    figure.bounds += [
        Bound("required set ready after, median", round(median(took), 2), "s", 10.0),
        Bound("proportional memory of all", round(total / 2**30, 3), "GiB", 1.2),
        *(Bound(f"of that, {name}", round(size / 2**20, 1), "MiB") for name, size in memory.items()),
    ]
    figure.notes.append(f"Starts, in seconds: {', '.join(f'{seconds:.2f}' for seconds in took)}.")
    return figure


def _command(place: Place, word: str) -> None:
    done = subprocess.run(
        python("infrastructure.local", word),
        cwd=ROOT,
        env=os.environ | {"DEZKY_HOME": str(place.home), "DEZKY_PORT_BASE": str(place.port_base), "SEED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise NotStarted(f"make {word}: {(done.stderr or done.stdout).strip()}")


def _memory(place: Place) -> dict[str, int]:
    """Return the bytes of PSS by process (proc(5), smaps_rollup)."""
    fleet = lifecycle.running(place)
    if fleet is None:
        raise NotStarted("the fleet has ended by itself")
    pids = {"supervisor": fleet.supervisor.pid} | {name: identity.pid for name, identity in fleet.identities.items()}
    return {name: _pss(pid) for name, pid in pids.items()}


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _free_base() -> int:
    offsets = [offset for process in PROCESSES for offset in process.offsets.values()]
    for base in range(21_000, 50_000, 100):
        if not any(ports.is_taken(base + offset) for offset in offsets):
            return base
    raise NotStarted("no free range of ports")
