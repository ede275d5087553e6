"""Reading logs that grow, that do not exist yet, and that are put aside."""

from contextlib import closing

import pytest

from infrastructure.local.place import Place
from infrastructure.local.tail import Log, print_logs

pytestmark = pytest.mark.unit


def test_the_last_lines_of_each_log_come_behind_its_name(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.log("tenant").write_text("one\ntwo\nthree\n")
    place.log("audit").write_text("four\n")
    print_logs(place, ["tenant", "audit", "gateway"], 2, follow=False)
    assert capsys.readouterr().out.splitlines() == ["tenant     two", "tenant     three", "audit      four"]


def test_a_line_is_printed_when_it_is_whole(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Log("tenant", place.log("tenant"))) as log, place.log("tenant").open("w") as file:
        assert not log.print_new()
        print("ha", end="", file=file, flush=True)
        log.print_new()
        assert capsys.readouterr().out == ""
        print("lf", file=file, flush=True)
        log.print_new()
        assert capsys.readouterr().out == "tenant     half\n"


def test_a_log_that_was_put_aside_is_read_from_its_new_beginning(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.log("tenant")
    path.write_text("old\n")
    with closing(Log("tenant", path)) as log:
        log.print_new()
        path.rename(path.with_suffix(".log.1"))
        path.write_text("new\n")
        log.print_new()
    assert capsys.readouterr().out.splitlines() == ["tenant     old", "tenant     new"]
