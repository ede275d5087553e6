"""Compose's own client, where there is one: it reads the file as we do. No engine is needed for that."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infrastructure.compose.dotenv import ensure, read
from infrastructure.docs.discovery import ROOT
from tests.deployment.composition import DOMAIN, PROFILES, Interpolation, raw


def client() -> list[str] | None:
    """`docker compose` or `docker-compose`, version 2 or newer."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            ended = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            version = ended.stdout.strip().removeprefix("v").partition(".")[0]
            if ended.returncode == 0 and version.isdigit() and int(version) >= 2:
                return command
    return None


def test_compose_reads_the_file_as_we_do(tmp_path: Path) -> None:
    command = client()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` 2 is on the PATH")
    file, person = tmp_path / ".env", f"operator@{DOMAIN}"
    ensure(file, {"DEZKY_DOMAIN": DOMAIN, "DEZKY_OPERATOR_EMAIL": person, "DEZKY_ACME_EMAIL": person})
    profiles = [word for profile in PROFILES for word in ("--profile", profile)]
    line = [*command, "--env-file", str(file), *profiles, "config", "--format", "json"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    theirs: dict[str, Any] = json.loads(ended.stdout)["services"]
    ours = Interpolation(read(file)).apply(raw())["services"]
    assert theirs.keys() == ours.keys()
    for name, service in ours.items():
        # It prints what it has read in the notation of the file: a dollar sign is doubled.
        seen = {key: value.replace("$$", "$") for key, value in (theirs[name].get("environment") or {}).items()}
        assert seen == service.get("environment", {}), name
        assert set(theirs[name].get("networks") or ()) == set(service.get("networks", ())), name
        assert theirs[name]["read_only"] == service["read_only"] if service["read_only"] else True, name


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_stands_alone(profile: str, tmp_path: Path) -> None:
    command = client()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` 2 is on the PATH")
    file, person = tmp_path / ".env", f"operator@{DOMAIN}"
    ensure(file, {"DEZKY_DOMAIN": DOMAIN, "DEZKY_OPERATOR_EMAIL": person, "DEZKY_ACME_EMAIL": person})
    line = [*command, "--env-file", str(file), "--profile", profile, "config", "--quiet"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
