"""Following a file of lines across renames and truncation. Everything here blocks: call it in a thread.

A file is recognised by what was read of it, not by its inode: its first bytes, and the last ones before the place
that was reached. So it is found again after a rename, in the copy that is made before a truncation, and after a
restart; and a truncated file is not taken for the one that it was. The file that is read is kept open, so that it
can be read to its end even after its name is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

CHUNK = 1024 * 1024
LONGEST_LINE = 64 * 1024
MOST_LINES = 500
FINGER = 1024
_NOTHING = sha256().hexdigest()


class FileAway(Exception):
    """There is no such file, or it is no file."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The place in a file up to which everything has been read.

    Attributes:
        generation: counts the files that were followed.
        file: tells this file from every other one that was followed; empty until something was read.
        head, tail: SHA-256 of its first bytes, and of the last before `offset`: FINGER of them, or what there is.
        skipping: the place is within a line that is too long.
    """

    generation: int
    inode: int
    file: str = ""
    offset: int = 0
    head: str = _NOTHING
    tail: str = _NOTHING
    skipping: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """What one look found: lines with their offsets, and the mark behind them.

    Attributes:
        more: looking again at once may find more.
    """

    mark: Mark
    lines: tuple[tuple[int, bytes], ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    more: bool = False


class OpenFile:
    """A regular file, open for reading."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.inode = os.fstat(handle).st_ino

    @classmethod
    def open(cls, path: Path) -> OpenFile | None:
        """None if there is none. Raises FileAway for anything but a regular file, and OSError."""
        try:
            # Without waiting: to open a pipe takes as long as nobody writes to it.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise FileAway("it is no regular file")
        return cls(handle)

    @property
    def size(self) -> int:
        return os.fstat(self._handle).st_size

    @property
    def changed(self) -> int:
        """When it was last written to, in nanoseconds."""
        return os.fstat(self._handle).st_mtime_ns

    def at(self, offset: int, length: int) -> bytes:
        """At most so many bytes from there."""
        return os.pread(self._handle, length, offset)

    def again(self) -> OpenFile:
        """The same file, to be closed apart."""
        return OpenFile(os.dup(self._handle))

    def close(self) -> None:
        os.close(self._handle)

    def holds(self, mark: Mark) -> bool:
        """Whether the mark is a place in this file."""
        if mark.offset == 0:
            return self.inode == mark.inode
        length = min(mark.offset, FINGER)
        before = self.at(mark.offset - length, length)
        return len(before) == length and _digest(before) == mark.tail and _digest(self.at(0, length)) == mark.head


class Tail:
    """Reads one path. What `read` returns depends on the mark alone, so whoever could not store it asks again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rotated_name = re.compile(rf"{re.escape(path.name)}[.-](\d[\d.T:_-]*)")
        self._kept: OpenFile | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def read(self, mark: Mark | None) -> Piece:
        """What follows the mark; from the beginning of the present file if there is none.

        Raises FileAway, OSError.
        """
        with contextlib.ExitStack() as opened:
            live = OpenFile.open(self._path)
            if live is not None:
                opened.callback(live.close)
            if mark is None:
                if live is None:
                    raise FileAway("there is no such file")
                return self._begin(live, 0)
            current = self._holder(mark, live, opened)
            if current is not None:
                return self._go_on(current, live, mark, opened)
            if live is None:
                raise FileAway("there is no such file")
            # Nobody can tell what was in between.
            lost = self._begin(live, mark.generation + 1)
            return replace(lost, skipped={**lost.skipped, "lost_track": 1})

    def _go_on(self, current: OpenFile, live: OpenFile | None, mark: Mark, opened: contextlib.ExitStack) -> Piece:
        piece = self._take(current, mark)
        if piece.mark != mark or piece.more or (live and live.inode == current.inode and live.holds(mark)):
            return piece
        following = self._after(current, live, opened)
        if following is None:
            return piece
        # The writer may have gone on here between our reading and its change to the next.
        rest = self._take(current, mark, final=True)
        if rest.mark != mark or rest.more:
            return rest
        begun = self._begin(following, mark.generation + 1, final=following is not live and bool(live and live.size))
        # At the beginning of a file there is nothing to recognise it by: better to be at the end of the one before.
        return begun if begun.mark.offset else piece

    def _begin(self, file: OpenFile, generation: int, *, final: bool = False) -> Piece:
        return self._take(file, Mark(generation, file.inode), final=final)

    def _take(self, file: OpenFile, mark: Mark, *, final: bool = False) -> Piece:
        """The lines after the mark, or none with `more` if the file was truncated meanwhile."""
        base = max(0, mark.offset - FINGER)
        window = file.at(base, mark.offset - base + CHUNK)
        before = min(mark.offset, FINGER)
        cut = mark.offset - base
        if not file.holds(mark) or _digest(window[cut - before : cut]) != mark.tail:
            return Piece(mark, more=True)
        found = _Lines(mark, window[cut:], final=final and len(window) < cut + CHUNK)
        reached = mark.offset + found.taken
        if not found.taken:
            # Found again in a copy, it stays there: the truncated file may come to look as it did.
            moved = replace(mark, inode=file.inode)
            return Piece(moved, more=moved != mark)
        end = window[: cut + found.taken]
        after = Mark(
            generation=mark.generation,
            inode=file.inode,
            file=mark.file or _digest(b"%d:" % mark.generation + found.first)[:16],
            offset=reached,
            head=mark.head if mark.offset >= FINGER else _digest(end[:FINGER]),
            tail=_digest(end[-FINGER:]),
            skipping=found.skipping,
        )
        self._keep(file)
        return Piece(after, tuple(found.lines), found.skipped, more=True)

    def _keep(self, file: OpenFile) -> None:
        if self._kept is None or self._kept.inode != file.inode:
            kept = file.again()
            self.close()
            self._kept = kept

    def _holder(self, mark: Mark, live: OpenFile | None, opened: contextlib.ExitStack) -> OpenFile | None:
        """The open file that the mark is in: rather the one with its inode than another with the same content."""
        if self._kept is not None and self._kept.inode == mark.inode and self._kept.holds(mark):
            return self._kept
        files = [live] if live else []
        files += self._open_rotated(opened)
        holding = [file for file in files if file.holds(mark)]
        return next((file for file in holding if file.inode == mark.inode), holding[0] if holding else None)

    def _after(self, current: OpenFile, live: OpenFile | None, opened: contextlib.ExitStack) -> OpenFile | None:
        """The file that was begun after the current one; None until something was written to one."""
        rotated = self._open_rotated(opened)
        places = [place for place, file in enumerate(rotated) if file.inode == current.inode]
        # Without a place its name is gone, and only the time tells what came after.
        newer = rotated[places[0] + 1 :] if places else [f for f in rotated if f.changed > current.changed]
        begun = [*newer, *([live] if live else [])]
        return next((file for file in begun if file.size > 0), None)

    def _open_rotated(self, opened: contextlib.ExitStack) -> list[OpenFile]:
        """The files that the path has been renamed or copied to, oldest first."""
        files = []
        for path in self._rotated():
            with contextlib.suppress(FileAway):
                file = OpenFile.open(path)
                if file is not None:
                    opened.callback(file.close)
                    files.append(file)
        return files

    def _rotated(self) -> Iterator[Path]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._path.parent.iterdir():
                if match := self._rotated_name.fullmatch(path.name):
                    text = match.group(1)
                    # `.1` is younger than `.2`; a date says it by itself.
                    number = -int(text) if len(text) < 5 and text.isdigit() else 0
                    found.append((number, text, path))
        return (path for _, _, path in sorted(found))


class _Lines:
    """What a chunk holds: whole lines with their offsets; `taken` is how many of its bytes are dealt with."""

    def __init__(self, mark: Mark, chunk: bytes, *, final: bool) -> None:
        self._offset = mark.offset
        self.lines: list[tuple[int, bytes]] = []
        self.skipped: dict[str, int] = {}
        self.skipping = mark.skipping
        self.taken = 0
        while len(self.lines) < MOST_LINES and (end := chunk.find(b"\n", self.taken)) >= 0:
            self._line(chunk[self.taken : end])
            self.taken = end + 1
        rest = chunk[self.taken :]
        if rest and b"\n" not in rest:
            self._unfinished(rest, final=final)
        self.first = chunk[: self.taken].partition(b"\n")[0]

    def _line(self, line: bytes) -> None:
        if self.skipping:
            self.skipping = False
        elif len(line) > LONGEST_LINE:
            self._skip()
        elif line.strip():
            self.lines.append((self._offset + self.taken, line))

    def _unfinished(self, rest: bytes, *, final: bool) -> None:
        """The rest of a line that is still written waits, unless nobody writes it any more or it is too long."""
        if self.skipping or len(rest) > LONGEST_LINE:
            if not self.skipping:
                self._skip()
            self.skipping = True
            self.taken += len(rest)
        elif final:
            self._line(rest)
            self.taken += len(rest)

    def _skip(self) -> None:
        self.skipped["too_long"] = self.skipped.get("too_long", 0) + 1


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
