"""The image as far as it can be known without building it: what goes in, who it runs as, and how it is looked after."""

import fnmatch
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.alive import alive
from infrastructure.docs.discovery import ROOT
from tests.support.servers import free_port

DOCKERFILE = (ROOT / "infrastructure" / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+) +(.*)$", re.sub(r"\\\n\s*", " ", DOCKERFILE), re.MULTILINE)
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def said(instruction: str) -> list[str]:
    return [text for name, text in INSTRUCTIONS if name == instruction]


@pytest.mark.unit
def test_every_stage_stands_on_one_base_that_is_named_by_its_digest() -> None:
    bases = {name: value for name, _, value in (text.partition("=") for text in said("ARG")) if name == "PYTHON"}
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", bases["PYTHON"])
    assert [text.split()[0] for text in said("FROM")] == ["${PYTHON}", "${PYTHON}"]


@pytest.mark.unit
def test_nothing_is_installed_that_has_no_hash_and_nothing_is_fetched_otherwise() -> None:
    run = " ".join(said("RUN"))
    assert "pip wheel --no-deps" in run
    assert "--require-hashes --requirement /tmp/requirements.lock" in run
    assert "install --no-compile --no-deps --no-index" in run
    assert re.search(r"\b(curl|wget|apt-get|apk|git)\b", run) is None
    assert said("ADD") == []


@pytest.mark.unit
def test_it_runs_as_a_numbered_user_who_is_not_root_and_ends_on_sigterm() -> None:
    user = said("USER")[-1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert INSTRUCTIONS.index(("USER", user)) > max(
        place for place, (name, _) in enumerate(INSTRUCTIONS) if name in {"FROM", "RUN"}
    )
    assert said("STOPSIGNAL") == ["SIGTERM"]
    assert said("CMD") == ['["python", "-m", "gateway"]']
    assert 'CMD ["python", "-m", "infrastructure.alive", "8080"]' in said("HEALTHCHECK")[0]
    assert "PYTHONDONTWRITEBYTECODE=1" in said("ENV")[-1]


@pytest.mark.unit
def test_what_is_copied_is_there_and_nothing_else_goes_in() -> None:
    copied = [text.split()[0] for text in said("COPY") if not text.startswith("--from")]
    assert sorted(copied) == ["gateway", "infrastructure", "requirements.lock", "services", "shared"]
    assert IGNORED[0] == "*"
    assert sorted(line[1:] for line in IGNORED if line.startswith("!")) == sorted(copied)
    inside = set(sent())
    assert "infrastructure/alive.py" in inside
    assert {name for name in inside if Path(name).name.startswith(".") or name.startswith("tests/")} == set()
    assert {name for name in inside if "/sandbox/" in name or name.startswith("shared/testing/")} == set()


@pytest.mark.unit
def test_all_that_a_process_imports_goes_in() -> None:
    inside = {Path(name) for name in sent()}
    missing = set()
    for file in inside:
        if file.suffix == ".py":
            for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
                if match := re.match(r"\s*(?:from|import) ((?:gateway|services|shared|infrastructure)[\w.]*)", line):
                    part = Path(*match[1].split("."))
                    if not {part.with_suffix(".py"), part / "__init__.py"} & inside:
                        missing.add(f"{file}: {match[1]}")
    assert sorted(missing) == []


def sent() -> Iterator[str]:
    """The committed files that `.dockerignore` lets through: the last pattern that fits decides."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        ignored = False
        for pattern in IGNORED:
            plain = pattern.removeprefix("!")
            if plain == "*" or _fits(name, plain):
                ignored = not pattern.startswith("!")
        if not ignored and (ROOT / name).exists():
            yield name


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in name.split("/"))
    return name == pattern or name.startswith(f"{pattern}/")


class _Page(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        assert self.path == "/livez"
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_a_container_is_well_when_its_process_says_that_it_lives(status: int, well: bool) -> None:
    page = type("Page", (_Page,), {"status": status})
    with http.server.HTTPServer(("127.0.0.1", 0), page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert alive(server.server_port) is well


def test_a_container_is_not_well_when_nobody_listens() -> None:
    assert alive(free_port()) is False
