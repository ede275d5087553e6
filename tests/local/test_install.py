"""When `make` installs, and when it has nothing to do. Installing itself is what every `make` on a clean clone does."""

from pathlib import Path

import pytest

from infrastructure.local import install

pytestmark = pytest.mark.unit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a lock, and an installation of it that looks complete."""
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "LOCK", tmp_path / "requirements-dev.lock")
    monkeypatch.setattr(install, "STAMP", tmp_path / ".venv" / ".dezky-installed")
    install.LOCK.write_text("one==1")
    python = install.VENV / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    install.STAMP.write_text(install._fingerprint())
    return tmp_path


@pytest.fixture
def installations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each installation instead of making it."""
    made: list[str] = []
    monkeypatch.setattr(install, "_install", lambda: made.append("one") or 0)
    return made


def test_nothing_is_done_while_the_lock_is_the_installed_one(project: Path, installations: list[str]) -> None:
    assert install.main() == 0
    assert installations == []


def test_touching_the_lock_is_no_change_but_changing_it_is(project: Path, installations: list[str]) -> None:
    install.LOCK.touch()
    install.main()
    assert installations == []
    install.LOCK.write_text("one==2")
    install.main()
    assert installations == ["one"]


def test_a_missing_python_or_stamp_installs_again(project: Path, installations: list[str]) -> None:
    (install.VENV / "bin" / "python").unlink()
    install.main()
    (install.VENV / "bin" / "python").touch(mode=0o755)
    install.STAMP.unlink()
    install.main()
    assert len(installations) == 2


def test_a_project_that_was_moved_is_installed_again(
    project: Path, installations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = project.with_name("moved")
    project.rename(moved)
    for name in ("VENV", "LOCK", "STAMP"):
        monkeypatch.setattr(install, name, moved / getattr(install, name).relative_to(project))
    install.main()
    assert installations == ["one"]


def test_an_old_python_is_refused_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 12))
    assert install.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "PYTHON=python3.11" in said.err
