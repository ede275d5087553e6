"""Following a file: nothing is lost, repeated or garbled by writing, renaming, copying and truncating."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.audit.ingest import tail as module
from services.audit.ingest.tail import LONGEST_LINE, FileAway, Mark, Tail

pytestmark = pytest.mark.unit


class Log:
    """A log file, who writes it and rotates it, and a reader that may forget all but its mark."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.log"
        self.writer = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.tail = Tail(self.path)
        self.mark: Mark | None = None
        self.seen: list[bytes] = []
        self.offsets: list[tuple[str, int]] = []
        self.skipped: dict[str, int] = {}

    def write(self, text: bytes) -> None:
        os.write(self.writer, text)

    def rotate(self, *, reopen: bool = True) -> None:
        """Rename, as most programs do, and cascade the numbers."""
        self._shift()
        self.path.rename(self.path.with_name("audit.log.1"))
        if reopen:
            self.reopen()

    def reopen(self) -> None:
        os.close(self.writer)
        self.writer = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def copy_and_truncate(self) -> None:
        self._shift()
        self.path.with_name("audit.log.1").write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)

    def _shift(self) -> None:
        names = [path.name.removeprefix("audit.log.") for path in self.path.parent.glob("audit.log.*")]
        numbers = sorted(int(name) for name in names if name.isdigit())
        for number in reversed(numbers):
            self.path.with_name(f"audit.log.{number}").rename(self.path.with_name(f"audit.log.{number + 1}"))

    def restart(self) -> None:
        self.tail.close()
        self.tail = Tail(self.path)

    def look(self) -> bool:
        piece = self.tail.read(self.mark)
        self.mark = piece.mark
        self.seen += [line for _, line in piece.lines]
        self.offsets += [(piece.mark.file, offset) for offset, _ in piece.lines]
        for reason, count in piece.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        return piece.more

    def read(self) -> list[bytes]:
        for _ in range(1_000):
            if not self.look():
                return self.seen
        raise AssertionError("it never comes to an end")

    def close(self) -> None:
        self.tail.close()
        os.close(self.writer)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.close()


def test_a_line_is_read_once_it_has_ended(log: Log) -> None:
    log.write(b"one\ntw")
    assert log.read() == [b"one"]
    log.write(b"o\n\n  \nthree\n")
    assert log.read() == [b"one", b"two", b"three"]
    assert [offset for _, offset in log.offsets] == [0, 4, 12]


def test_the_old_file_is_read_to_its_end_before_the_new_one(log: Log) -> None:
    log.write(b"one\n")
    log.read()
    log.write(b"two\n")
    log.rotate()
    log.write(b"three\n")
    assert log.read() == [b"one", b"two", b"three"]


def test_a_writer_that_has_not_noticed_the_rotation_is_followed(log: Log) -> None:
    log.write(b"one\n")
    log.read()
    log.rotate(reopen=False)
    log.path.touch()
    log.write(b"two\n")
    assert log.read() == [b"one", b"two"]
    log.write(b"three\n")
    log.reopen()
    log.write(b"four\n")
    assert log.read() == [b"one", b"two", b"three", b"four"]


def test_a_last_word_in_the_old_file_just_before_the_change_is_read(log: Log) -> None:
    class Racing(Tail):
        def _after(self, *files: Any) -> Any:
            found = super()._after(*files)
            if log.seen == [b"one"]:
                log.write(b"two\n")
            return found

    log.tail = Racing(log.path)
    log.write(b"one\n")
    log.read()
    log.rotate(reopen=False)
    log.path.write_bytes(b"three\n")
    assert log.read() == [b"one", b"two", b"three"]


def test_an_old_file_whose_name_is_gone_is_still_read_to_its_end(log: Log) -> None:
    log.write(b"one\n")
    log.read()
    log.write(b"two\n")
    log.rotate()
    log.path.with_name("audit.log.1").unlink()
    log.write(b"three\n")
    assert log.read() == [b"one", b"two", b"three"]


@pytest.mark.parametrize("restarted", [False, True])
def test_several_rotations_while_nobody_looked_lose_nothing(log: Log, restarted: bool) -> None:
    log.write(b"one\n")
    log.read()
    for line in (b"two\n", b"three\n", b"four\n"):
        log.write(line)
        log.rotate()
    log.write(b"five\n")
    if restarted:
        log.restart()
    assert log.read() == [b"one", b"two", b"three", b"four", b"five"]
    assert log.skipped == {}


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_copied_before_a_truncation_is_read_from_the_copy(log: Log, restarted: bool) -> None:
    log.write(b"one\n")
    log.read()
    log.write(b"two\n")
    log.copy_and_truncate()
    log.write(b"three, and longer than all before together\n")
    if restarted:
        log.restart()
    assert log.read() == [b"one", b"two", b"three, and longer than all before together"]
    assert log.skipped == {}


def test_a_truncation_without_a_copy_is_told_and_reading_goes_on(log: Log) -> None:
    log.write(b"one\n")
    log.read()
    os.truncate(log.path, 0)
    log.write(b"two\n")
    assert log.read() == [b"one", b"two"]
    assert log.skipped == {"lost_track": 1}
    assert len(set(log.offsets)) == 2


def test_the_same_line_at_the_same_place_of_two_files_has_two_keys(log: Log) -> None:
    log.write(b"same\n")
    log.read()
    log.copy_and_truncate()
    log.read()
    log.write(b"same\n")
    log.read()
    log.write(b"and more\n")
    log.read()
    assert log.seen == [b"same", b"same", b"and more"]
    assert len(set(log.offsets)) == 3


def test_the_same_piece_read_twice_is_the_same(log: Log) -> None:
    log.write(b"one\ntwo\n")
    assert log.tail.read(None) == log.tail.read(None)
    log.read()
    mark = log.mark
    log.write(b"three\n")
    first = log.tail.read(mark)
    log.restart()
    assert log.tail.read(mark) == first


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_line_that_is_too_long_is_counted_once_and_passed(log: Log, pieces: int) -> None:
    log.write(b"one\n")
    for _ in range(pieces):
        log.write(b"x" * (2 * LONGEST_LINE))
        log.read()
    log.write(b"x\n" + b"y" * LONGEST_LINE + b"\n")
    assert log.read() == [b"one", b"y" * LONGEST_LINE]
    assert log.skipped == {"too_long": 1}


def test_the_last_line_of_a_finished_file_needs_no_end(log: Log) -> None:
    log.write(b"one\ntwo")
    log.read()
    log.rotate()
    assert log.read() == [b"one"]
    log.write(b"three\n")
    assert log.read() == [b"one", b"two", b"three"]


def test_what_is_no_log_of_ours_is_left_alone(log: Log) -> None:
    log.write(b"one\n")
    log.read()
    for name in ("audit.log.bak", "audit.log~", "audit.log.1.gz", "other.log.1", "audit.log.swp"):
        log.path.with_name(name).write_bytes(b"not this\n")
    log.rotate()
    log.write(b"two\n")
    assert log.read() == [b"one", b"two"]


def test_a_missing_file_and_a_pipe_are_told(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "audit.log")
    with pytest.raises(FileAway):
        tail.read(None)
    os.mkfifo(tmp_path / "audit.log")
    with pytest.raises(FileAway):
        tail.read(None)


def test_a_truncation_while_the_file_is_read_garbles_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(b"one\n" * 1_000)
    log.read()
    log.write(b"two\n" * 1_000)
    real, raced = module.OpenFile.holds, []

    def holds(file: module.OpenFile, mark: Mark) -> bool:
        held = real(file, mark)
        if mark.offset and not raced:
            raced.append(True)
            log.copy_and_truncate()
            log.write(b"three, of another length\n" * 1_000)
        return held

    monkeypatch.setattr(module.OpenFile, "holds", holds)
    log.read()
    assert log.seen == [b"one"] * 1_000 + [b"two"] * 1_000 + [b"three, of another length"] * 1_000


Step = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 5)),
    st.tuples(st.just("half"), st.integers(1, 3)),
    st.sampled_from([("rotate",), ("rotate, later",), ("copy",), ("look",), ("look",), ("restart",), ("forget",)]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(Step, max_size=40))
@example([("write", 1), ("look",), ("rotate, later",), ("write", 1), ("rotate",), ("write", 1), ("restart",)])
def test_every_line_is_read_once_and_in_order_whatever_happens_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, ...]]
) -> None:
    log = Log(tmp_path_factory.mktemp("tail"))
    written: list[bytes] = []
    log.write(b"begin\n")
    log.look()
    begun = False  # within a line
    for name, *count in steps:
        if name in {"write", "half"}:
            for _ in range(int(count[0])):
                written.append(b"%d %s" % (len(written), b"x" * (len(written) % 7 * 300)))
                log.write(written[-1] + b"\n")
        if name == "half":
            written.append(b"%d half" % len(written))
            log.write(written[-1][:3])
            if log.look():
                log.look()
            log.write(written[-1][3:] + b"\n")
        elif name.startswith("rotate") and log.path.exists():
            log.rotate(reopen=name == "rotate")
        elif name == "copy" and log.path.exists() and not begun:
            log.reopen()
            log.copy_and_truncate()
        elif name == "look":
            log.look()
        elif name == "restart":
            log.restart()
        elif name == "forget":  # what was read could not be stored
            log.tail.read(log.mark)
    log.reopen()
    written.append(b"end")
    log.write(b"end\n")
    assert log.read() == [b"begin", *written]
    assert log.skipped == {}
    assert len(set(log.offsets)) == len(log.seen)
    log.close()
