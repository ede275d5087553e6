"""Where a fleet lives: its state folder and its ports, from `DEZKY_HOME` and `DEZKY_PORT_BASE`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.errors import Obstacle

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_HOME = ".local"
DEFAULT_PORT_BASE = 8080
_LOWEST_BASE = 1024
_HIGHEST_BASE = 55_000  # the object store also takes each of its ports + 10,000


@dataclass(frozen=True)
class Place:
    """One fleet's folders and ports. Two fleets with different places run side by side."""

    home: Path
    port_base: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Place":
        """Reads the two variables; a relative home is taken from the project's root. Raises Obstacle."""
        text = environment.get("DEZKY_PORT_BASE") or str(DEFAULT_PORT_BASE)
        if not (text.isascii() and text.isdigit()) or not _LOWEST_BASE <= int(text) <= _HIGHEST_BASE:
            raise Obstacle(
                f"DEZKY_PORT_BASE is {text!r}",
                f"Set it to a whole number from {_LOWEST_BASE} to {_HIGHEST_BASE}, or leave it out",
            )
        return cls((ROOT / (environment.get("DEZKY_HOME") or DEFAULT_HOME)).resolve(), int(text))

    @property
    def secrets(self) -> Path:
        """Passwords, keys and what contains them; mode 0700."""
        return self.home / "secrets"

    @property
    def state(self) -> Path:
        """The servers' data, and what the supervisor knows of its children."""
        return self.home / "state"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.home / "logs"

    @property
    def backups(self) -> Path:
        """Where backups go unless somebody says otherwise; `make clean` leaves it."""
        return self.home / "backups"

    @property
    def erasures(self) -> Path:
        """The list of the erased, outside of every backup; it only grows, and `make clean` leaves it."""
        return self.home / "erasures.jsonl"

    @property
    def unfinished_restore(self) -> Path:
        """There while the databases are being restored, or when that was killed."""
        return self.state / "restore.unfinished"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def port(self, offset: int) -> int:
        """The port at an offset from the base."""
        return self.port_base + offset

    def url(self, offset: int) -> str:
        """The HTTP origin of a process, without a trailing slash."""
        return f"http://127.0.0.1:{self.port(offset)}"

    def prepare(self) -> None:
        """Creates the folders, private to this user. Raises Obstacle when one cannot be read or written."""
        try:
            for folder in (self.home, self.secrets, self.state, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".probe.{os.getpid()}"
                probe.touch()
                probe.unlink()
                list(folder.iterdir())
            self.secrets.chmod(0o700)
            self.state.chmod(0o700)
            self.logs.chmod(0o700)
        except OSError as refused:
            raise Obstacle(
                f"The state folder {self.home} cannot be used: {refused.strerror} ({refused.filename})",
                "Make it a folder that you own, or set DEZKY_HOME to another one",
            ) from refused
