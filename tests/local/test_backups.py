"""The runner starts nothing on databases that are not whole, and restores over nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from infrastructure.local import backups, lifecycle
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from tests.support.fleet import command

pytestmark = pytest.mark.unit


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "home", 55_000)
    made.prepare()
    return made


def test_a_fleet_does_not_start_on_half_restored_databases(place: Place) -> None:
    place.unfinished_restore.touch()
    with pytest.raises(Obstacle, match="A restore was interrupted: the databases are not whole"):
        lifecycle.up(place, lambda _: None)


def test_databases_that_hold_data_are_not_restored_over_and_half_restored_ones_are_removed(place: Place) -> None:
    kept = place.state / "nats" / "jetstream"
    kept.mkdir(parents=True)
    with pytest.raises(Obstacle, match=r"nats holds data\. A restore replaces nothing: move it away"):
        backups.restore(place, place.backups / "one", None)
    assert kept.is_dir()
    place.unfinished_restore.touch()
    with pytest.raises(Obstacle, match="one is no whole backup"):
        backups.restore(place, place.backups / "one", None)
    assert not kept.exists()
    with pytest.raises(Obstacle, match=r"The fleet is not running\. Run `make up` first"):
        backups.back_up(place, None, None)


def interrupted(place: Place) -> None:
    with backups._unfinished(place):
        (place.state / "mongod" / "data").mkdir(parents=True)
        assert place.unfinished_restore.exists()
        raise KeyboardInterrupt


def test_a_restore_that_breaks_off_leaves_no_database_and_no_mark(place: Place) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(place)
    assert not (place.state / "mongod").exists()
    assert not place.unfinished_restore.exists()


def test_a_restore_without_a_name_says_how_to_write_it(place: Place) -> None:
    done = command(place, "restore", "")
    assert (done.returncode, done.stderr) == (
        2,
        "No backup is named. Write `make restore FROM=` with the folder of one.\n",
    )
