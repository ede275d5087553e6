"""Reading the logs of several processes as one, each line behind the name of its process."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from io import BufferedReader
from pathlib import Path

from infrastructure.local.place import Place
from infrastructure.local.processes import PROCESSES

_POLL_SECONDS = 0.2
_CHUNK_BYTES = 256 * 1024


class Log:
    """One log file, read from where it was left; a file that was replaced is read from its beginning."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._file: BufferedReader | None = None
        self._rest = b""

    def skip_all_but(self, lines: int) -> None:
        """Moves to the last `lines` lines, as far as they are in the last 256 KiB."""
        if not self._open() or self._file is None:
            return
        end = self._file.seek(0, 2)
        start = self._file.seek(max(0, end - _CHUNK_BYTES))
        kept = self._file.read().splitlines(keepends=True)[-lines:] if lines else []
        self._file.seek(max(start, end - sum(map(len, kept))))

    def print_new(self) -> bool:
        """Prints the whole lines that were added; True when there were any."""
        if not self._open() or self._file is None:
            return False
        *lines, self._rest = (self._rest + self._file.read(_CHUNK_BYTES)).split(b"\n")
        for line in lines:
            sys.stdout.write(f"{self._name:<10} {line.decode('utf-8', 'replace')}\n")
        return bool(lines)

    def close(self) -> None:
        """Closes the file; harmless when none is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        try:
            if self._file is not None and self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
                self.close()
            if self._file is None:
                self._file = self._path.open("rb")
                self._rest = b""
        except FileNotFoundError:
            return False
        return True


def print_logs(place: Place, names: Sequence[str], lines: int, *, follow: bool) -> None:
    """Prints the last `lines` lines of each log, of every process when no name is given, and then what comes."""
    chosen = names or [*(process.name for process in PROCESSES), "supervisor"]
    with ExitStack() as opened:
        logs = [opened.enter_context(closing(Log(name, place.log(name)))) for name in chosen]
        for log in logs:
            log.skip_all_but(lines)
        while True:
            news = [log.print_new() for log in logs]
            sys.stdout.flush()
            if not any(news):
                if not follow:
                    return
                time.sleep(_POLL_SECONDS)
