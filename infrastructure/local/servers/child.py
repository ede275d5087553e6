"""Child processes that never outlive their parent, and pids that are never mistaken for another process."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
# proc(5), /proc/<pid>/stat
_THREADS_FIELD = 20
_START_TIME_FIELD = 22
_LIBC = ctypes.CDLL(None, use_errno=True)
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessId:
    """A pid that cannot be confused with a later process of the same number.

    `started` is the start time in clock ticks since boot (proc(5)), `boot` the kernel's boot id.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The identity of a running process; None when there is none.

        A zombie counts as none once its last thread has ended: until then it holds its files and its ports.
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # The command name, field 2, may contain spaces and brackets: count from its closing bracket.
        fields = stat.rpartition(")")[2].split()
        if fields[0] == "X" or (fields[0] == "Z" and int(fields[_THREADS_FIELD - 3]) <= 1):
            return None
        return cls(pid, int(fields[_START_TIME_FIELD - 3]), boot_id())

    def alive(self) -> bool:
        """True while this very process runs."""
        return ProcessId.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Signals the process if it is still this one; False when it is gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, seconds: float) -> bool:
        """True once the process has ended, False when it still runs after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn`: the child gets SIGTERM when the *thread* that started it ends (prctl(2)).

    Start children only from a thread that lives as long as they shall.
    """
    parent = os.getpid()

    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return in_child


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a child in a process group of its own, its output appended to `log`, dying with its parent."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=directory,
            process_group=0,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it only calls prctl, which is safe between fork and exec
        )


def end(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """SIGTERM, then SIGKILL after `seconds`; returns when the process has been reaped."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


async def spawn_async(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str], directory: Path
) -> asyncio.subprocess.Process:
    """`spawn` for an event loop, which must run in a thread that lives as long as the child shall."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            process_group=0,
            preexec_fn=die_with_parent(),
        )


def last_line(log: Path) -> str:
    """The last line of a log that says anything, cut to 300 characters; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
