"""Processes under measurement: pinned to a core, waited for, their CPU time read, ended by pid."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.machine import other_cores, subject_core
from infrastructure.local.place import ROOT
from infrastructure.local.servers.child import end, last_line, spawn

READY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):
    """A process did not become ready; the message holds the last line of its log."""


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pinned:
    """A child on the subject's core (or beside it), for ``async with``; ready when ``ready_path`` answers 200."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        port: int | None = None,
        ready_path: str = "/livez",
        beside: bool = False,
    ) -> None:
        cores = other_cores() if beside else {subject_core()}
        self._command = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
        self._log = log
        self._listens = port
        self._ready_path = ready_path
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Pinned:
        self._process = spawn(self._command, log=self._log, environment=self._environment, directory=ROOT)
        try:
            if self._listens is not None:
                await self._await_ready(self._listens)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listens is not None
        return self._listens

    def cpu_seconds(self) -> float:
        """CPU time of the process so far, all threads, user and system (proc(5))."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_mib(self) -> float:
        """The most memory that the process has had resident so far, in MiB (proc(5), VmHWM)."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def _end(self) -> None:
        if self._process is not None:
            end(self._process, 10.0)

    async def _await_ready(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while not await _answers(port, self._ready_path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{' '.join(self._command[3:6])}: {last_line(self._log)}")
            await asyncio.sleep(0.05)


async def _answers(port: int, path: str) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


def python(module: str, *arguments: str) -> list[str]:
    """Return the command of a module of this project."""
    return [sys.executable, "-m", module, *arguments]


async def run_inner(log: Path, *arguments: object) -> dict[str, list[tuple[int, float, float]]]:
    """Run ``benchmarks.inner`` on the subject's core and return what it printed.

    Raises:
        NotStarted: it failed; the message holds the last line of its log.
    """
    command = ["taskset", "--cpu-list", str(subject_core()), *python("benchmarks.inner", *map(str, arguments))]
    with log.open("ab") as errors:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT
        )
        output, _ = await child.communicate()
    if child.returncode:
        raise NotStarted(f"benchmarks.inner {arguments[0]}: {last_line(log)}")
    found: dict[str, list[tuple[int, float, float]]] = json.loads(output)
    return found
