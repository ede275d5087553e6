"""Children that die with their parent, and pids that are never mistaken for another process."""

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local import ports
from infrastructure.local.servers.child import ProcessId, end, last_line, spawn

pytestmark = pytest.mark.unit

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
PARENT = """
import sys, time
from pathlib import Path
from infrastructure.local.servers.child import spawn
child = spawn([sys.executable, "-S", "-c", "import time; time.sleep(60)"], log=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = spawn(SLEEPER, log=tmp_path / "log")
    yield process
    process.kill()
    process.wait()


def test_a_running_process_is_recognised(sleeper: "subprocess.Popen[bytes]") -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    assert identity.alive()


def test_the_same_pid_with_another_start_time_is_another_process_and_is_not_signalled(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    earlier = dataclasses.replace(identity, started=identity.started - 1)
    assert not earlier.alive()
    assert not earlier.signal(signal.SIGKILL)
    assert identity.alive()


def test_the_same_pid_and_time_of_another_boot_is_another_process(sleeper: "subprocess.Popen[bytes]") -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    assert not dataclasses.replace(identity, boot="another").signal(signal.SIGKILL)
    assert identity.alive()


def test_a_zombie_is_gone(sleeper: "subprocess.Popen[bytes]") -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    sleeper.kill()  # and nobody waits for it, so that it stays a zombie
    assert identity.wait_gone(5)


def test_a_zombie_whose_thread_still_listens_is_not_gone() -> None:
    leaves_a_thread = (
        "import ctypes, platform, socket, sys, threading, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "threading.Thread(target=sys.stdin.readline).start()\n"
        "print(server.getsockname()[1], flush=True)\n"
        # exit(2) of the first thread alone; exit_group(2) would end them all.
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", leaves_a_thread], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        deadline = time.monotonic() + 5
        while _state_of(process.pid) != "Z":
            assert time.monotonic() < deadline
        identity = ProcessId.of(process.pid)
        assert ports.is_taken(port)
        assert identity is not None
        assert identity.alive()
        process.kill()
        assert identity.wait_gone(5)
        assert not ports.is_taken(port)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_process_with_brackets_and_spaces_in_its_name_is_recognised(tmp_path: Path) -> None:
    odd = tmp_path / "a) b (c"
    odd.symlink_to("/bin/sleep")
    process = spawn([str(odd), "60"], log=tmp_path / "log")
    try:
        identity = ProcessId.of(process.pid)
        assert identity is not None
        assert identity.started > 1000
    finally:
        end(process, 5)


def test_a_child_is_ended_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = ProcessId.of(int(parent.stdout.readline()))
        parent.kill()
    assert child is not None
    assert child.wait_gone(5)


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = spawn([sys.executable, "-c", stubborn], log=log)
    identity = ProcessId.of(process.pid)
    assert identity is not None
    while last_line(log) != "up":
        assert identity.alive()
    end(process, 0.1)
    assert process.returncode == -signal.SIGKILL
