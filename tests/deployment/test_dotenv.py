"""`make deployment-env`: everything that a deployment must keep secret is made once, and never changes by itself."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from infrastructure.compose.__main__ import main
from infrastructure.compose.dotenv import ensure, read
from infrastructure.compose.variables import all_variables
from infrastructure.local.errors import Obstacle

pytestmark = pytest.mark.unit
SAID = {"DEZKY_DOMAIN": "dezky.example", "DEZKY_OPERATOR_EMAIL": "a@b.example", "DEZKY_ACME_EMAIL": "a@b.example"}


def test_everything_is_made_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    values = read(file)
    assert {name for name, value in values.items() if not value} == set()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = [values[variable.name] for variable in all_variables() if variable.make]
    assert len(set(made)) == len(made) > 30
    assert min(len(value) for value in made) >= 32


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    before = file.read_bytes()
    assert ensure(file, SAID) == []
    assert file.read_bytes() == before


def test_what_is_missing_is_added_and_what_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    whole = read(file)
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("S3_SECRET_KEY=")]
    file.write_text("\n".join([*lines, "COMPOSE_PROFILES=core,suite", ""]), encoding="utf-8")
    assert ensure(file, SAID) == ["S3_SECRET_KEY"]
    after = read(file)
    assert {name for name in whole if whole[name] != after[name]} == {"S3_SECRET_KEY"}
    assert after["COMPOSE_PROFILES"] == "core,suite"


def test_a_public_key_that_was_added_by_hand_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    keys = json.loads(read(file)["INTERNAL_PUBLIC_KEYS"])
    second = {"gateway-2": {"owner": "gateway", "x": keys["gateway-1"]["x"]}}
    text = file.read_text(encoding="utf-8").replace(
        json.dumps(keys, separators=(",", ":")), json.dumps(keys | second, separators=(",", ":"))
    )
    file.write_text(text, encoding="utf-8")
    ensure(file, SAID)
    assert json.loads(read(file)["INTERNAL_PUBLIC_KEYS"]) == keys | second


def test_another_domain_than_the_one_that_is_there_is_refused_and_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    before = file.read_bytes()
    with pytest.raises(Obstacle, match=r"DEZKY_DOMAIN=dezky\.example"):
        ensure(file, SAID | {"DEZKY_DOMAIN": "other.example"})
    assert file.read_bytes() == before


@pytest.mark.parametrize("line", ["export A=1", "lower=1", "A='it''s'", 'A="x"', "A=1 # said", "A"])
def test_a_line_that_compose_may_read_otherwise_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(Obstacle, match="line 2"):
        ensure(file, SAID)


def test_a_shell_reads_the_same_values(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure(file, SAID)
    script = 'set -a; . "$1"; exec env -0'
    command = ["/bin/sh", "-euc", script, "sh", str(file)]
    seen = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True).stdout.decode()
    values = dict(entry.split("=", 1) for entry in seen.split("\0") if entry)
    assert read(file).items() <= values.items()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("Dezky", "a@b.example"), "DOMAIN"),
        (("dezky", "a@b.example"), "DOMAIN"),
        (("dezky.example", "nobody"), "EMAIL"),
    ],
)
def test_a_wrong_word_is_named_with_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], name: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--file", str(tmp_path / ".env")])
    assert f"{name} is '{words[0] if name == 'DOMAIN' else words[1]}': give" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_what_it_added_and_shows_no_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / ".env"
    assert main(["dezky.example", "a@b.example", "--file", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "MONGO_ROOT_PASSWORD" in shown
    assert [name for name, value in read(file).items() if len(value) > 20 and value in shown] == []
