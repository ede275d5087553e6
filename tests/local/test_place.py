"""Where a fleet lives, and how a folder or a number that will not do is refused."""

from pathlib import Path

import pytest

from infrastructure.local.errors import Obstacle
from infrastructure.local.place import ROOT, Place

pytestmark = pytest.mark.unit


def test_without_variables_it_is_dot_local_and_port_8080() -> None:
    place = Place.from_environment({})
    assert place == Place(ROOT / ".local", 8080)


def test_a_relative_home_is_taken_from_the_project_and_an_absolute_one_as_it_is(tmp_path: Path) -> None:
    assert Place.from_environment({"DEZKY_HOME": "other"}).home == ROOT / "other"
    assert Place.from_environment({"DEZKY_HOME": str(tmp_path)}).home == tmp_path


@pytest.mark.parametrize("text", ["80", "55001", "-1", "8080.0", "1e4", "eight", " 8080", "٨٠٨٠"])
def test_a_port_base_that_will_not_do_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(Obstacle, match=r"DEZKY_PORT_BASE is .* Set it to a whole number from 1024 to 55000"):
        Place.from_environment({"DEZKY_PORT_BASE": text})


def test_the_folders_are_private(tmp_path: Path) -> None:
    place = Place(tmp_path / "new" / "home", 8080)
    place.prepare()
    assert {folder: folder.stat().st_mode & 0o777 for folder in (place.secrets, place.state, place.logs)} == {
        place.secrets: 0o700,
        place.state: 0o700,
        place.logs: 0o700,
    }


def test_a_file_in_the_place_of_a_folder_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(Obstacle) as refused:
        Place(tmp_path / "home", 8080).prepare()
    assert str(tmp_path / "home") in str(refused.value)
    assert "set DEZKY_HOME to another one" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_system_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(Obstacle, match="cannot be used"):
        Place(Path("/proc/dezky"), 8080).prepare()
