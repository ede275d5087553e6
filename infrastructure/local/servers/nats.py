"""One nats-server with JetStream that syncs every write, a user per process, loopback only."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.bootstrap import nats_monitor
from infrastructure.local.errors import StartFailed
from infrastructure.local.private_files import write_private
from infrastructure.local.servers import binaries
from infrastructure.local.servers.child import end, last_line, spawn

_PETABYTE = 1024**5
_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class NatsUser:
    """A user and the subjects it may publish and subscribe to; None means every subject (the admin)."""

    name: str
    password: str
    publish: Sequence[str] | None = None
    subscribe: Sequence[str] | None = None


def nats_command(config_file: Path) -> list[str]:
    """The command line; everything else is in the configuration."""
    return [str(binaries.nats_binary()), "--config", str(config_file)]


def render_config(port: int, monitor_port: int, store: Path, users: Iterable[NatsUser]) -> str:
    """The configuration as JSON, which nats-server reads as it is; `store` is JetStream's folder.

    An empty list of subjects denies all, as it reads: nats-server takes an empty `allow` for "everything".
    """
    return json.dumps(
        {
            "server_name": "dezky-local",
            "host": "127.0.0.1",
            "port": port,
            "http": f"127.0.0.1:{monitor_port}",
            # Each stream's max_bytes bounds what it takes; this bounds what they may promise together. The
            # default is three quarters of the disk, so a small disk would refuse the streams.
            "jetstream": {"store_dir": str(store), "sync_interval": "always", "max_file_store": _PETABYTE},
            "authorization": {"users": [_user(user) for user in users]},
        },
        indent=2,
    )


def _user(user: NatsUser) -> dict[str, Any]:
    entry: dict[str, Any] = {"user": user.name, "password": user.password}
    permissions = {
        direction: {"allow": list(subjects)} if subjects else {"deny": [">"]}
        for direction, subjects in (("publish", user.publish), ("subscribe", user.subscribe))
        if subjects is not None
    }
    return entry | ({"permissions": permissions} if permissions else {})


def monitor(monitor_port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a page of the monitor (`/healthz`, `/jsz`). Raises OSError."""
    return nats_monitor.monitor(f"http://127.0.0.1:{monitor_port}", path)


def is_healthy(monitor_port: int) -> bool:
    """True when the server, JetStream included, calls itself healthy."""
    try:
        return monitor(monitor_port, "/healthz")[0] == http.client.OK
    except OSError:
        return False


class NatsServer:
    """A nats-server for as long as its owner needs it: `start()`, `stop()`, `kill()` (SIGKILL), and again.

    `directory` is private to it (configuration, log; the streams where `config_text` says). It dies with the
    thread that called `start`.
    """

    def __init__(self, directory: Path, port: int, monitor_port: int, config_text: str) -> None:
        self.directory = directory
        self.port = port
        self.monitor_port = monitor_port
        self.config_text = config_text
        self.log = directory / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and returns when it and JetStream are healthy. Raises StartFailed."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        config_file = self.directory / "nats.conf"
        write_private(config_file, self.config_text)
        self._process = spawn(nats_command(config_file), log=self.log)
        deadline = time.monotonic() + _READY_SECONDS
        while not is_healthy(self.monitor_port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise StartFailed(f"nats-server is not ready on port {self.port}: {last_line(self.log)}")
            time.sleep(_POLL_SECONDS)
        if self._process.poll() is not None:  # somebody else's server answered on that port
            self.kill()
            raise StartFailed(f"nats-server ended on port {self.port}: {last_line(self.log)}")

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
