"""One mongod as a one-node replica set with authentication on, loopback only."""

import base64
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from infrastructure.bootstrap.replica_set import ReplicaSet, establish
from infrastructure.bootstrap.reports import ByHand, NotReady
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.private_files import write_private
from infrastructure.local.servers import binaries
from infrastructure.local.servers.child import end, last_line, spawn

REPLICA_SET = "rs0"
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


def mongod_command(directory: Path, port: int, key_file: Path, cache_gb: float = 0.25) -> list[str]:
    """The command line; `directory` holds the data, `key_file` has mode 0600 (mongod refuses another).

    Compression is off because 6.0.5 predates the fix of CVE-2025-14847, which is in zlib compression. The
    oplog is bounded, since its default is a twentieth of the disk. A single node has nobody to step down for,
    so it need not linger on SIGTERM.
    """
    options = {
        "--dbpath": str(directory),
        "--port": str(port),
        "--bind_ip": "127.0.0.1",
        "--replSet": REPLICA_SET,
        "--keyFile": str(key_file),
        "--networkMessageCompressors": "disabled",
        "--wiredTigerCacheSizeGB": str(cache_gb),
        "--oplogSize": "512",
    }
    parameters = (
        "shutdownTimeoutMillisForSignaledShutdown=100",
        "diagnosticDataCollectionEnabled=false",
        # A process that is killed between write and commit leaves its locks behind; our own limit is 10 s.
        "transactionLifetimeLimitSeconds=15",
    )
    command = [str(binaries.mongod_binary()), "--nounixsocket"]
    for name, value in options.items():
        command += [name, value]
    for parameter in parameters:
        command += ["--setParameter", parameter]
    return command


def write_key_file(path: Path) -> None:
    """Writes a random replica-set key, mode 0600, unless there is one."""
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(96)).decode("ascii"))


def root_uri(port: int, password: str) -> str:
    """The URI of the root user, who owns everything; for the runner and for tests, never for a service."""
    return f"mongodb://root:{password}@127.0.0.1:{port}/?replicaSet={REPLICA_SET}&authSource=admin"


def initialise(
    port: int,
    root_password: str,
    seconds: float = _READY_SECONDS,
    still_running: Callable[[], bool] = lambda: True,
) -> None:
    """Makes the server a writable primary with a root user, whatever of that is already done. Safe to repeat.

    A data folder that was last served on another port is re-addressed. Raises StartFailed after `seconds` or when
    it is no longer `still_running`, and Obstacle when the folder's root user has another password.
    """
    wanted = ReplicaSet(REPLICA_SET, (f"127.0.0.1:{port}",), root_password)
    try:
        for _ in establish(wanted, seconds, still_running):
            continue
    except NotReady as late:
        raise StartFailed(f"mongod on port {port}: {late.reason}") from late
    except ByHand as refused:
        raise Obstacle(
            f"mongod on port {port} refuses the root password of this state folder",
            "Move its mongod folder and its secrets away together, then start again",
        ) from refused


class MongodServer:
    """A mongod for as long as its owner needs it: `start()`, `uri`, `stop()`; `kill()` is a SIGKILL.

    `directory` is private to it (data, key, log, root password). Call `start` from a thread that lives as
    long as the server shall: it dies with that thread.
    """

    def __init__(self, directory: Path, port: int, cache_gb: float = 0.25) -> None:
        self.directory = directory
        self.port = port
        self.cache_gb = cache_gb
        self.log = directory / "mongod.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The root user's URI."""
        return root_uri(self.port, self._password())

    def start(self) -> None:
        """Starts the server and returns when it is a writable primary. Raises StartFailed, Obstacle."""
        data, key_file = self.directory / "data", self.directory / "key"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_key_file(key_file)
        self._process = process = spawn(mongod_command(data, self.port, key_file, self.cache_gb), log=self.log)
        try:
            _await_listening(process, self.port, self.log)
            # Whoever answers on a port that is taken is not this process, which ends as soon as it notices.
            initialise(self.port, self._password(), still_running=lambda: process.poll() is None)
        except BaseException as failed:
            ended = process.poll()
            self.kill()
            if ended is not None and isinstance(failed, StartFailed):
                raise StartFailed(f"mongod ended with {ended}: {last_line(self.log)}") from None
            raise

    def stop(self) -> None:
        """Ends the server cleanly; harmless when it is not running."""
        if self._process is not None:
            end(self._process, _STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Ends the server with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _password(self) -> str:
        path = self.directory / "root-password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text(encoding="utf-8")


def _await_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Waits on the bare socket: the driver looks again only every half second."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        if process.poll() is not None:
            raise StartFailed(f"mongod ended with {process.returncode}: {last_line(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise StartFailed(f"mongod does not listen on port {port}: {last_line(log)}") from None
        time.sleep(_POLL_SECONDS)
