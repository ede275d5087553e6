"""The whole fleet through its command line: up, status, token, a kill, a killed supervisor, down; two side by side."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infrastructure.local import lifecycle, ports, state
from infrastructure.local.place import ROOT, Place
from infrastructure.local.processes import PROCESSES
from infrastructure.local.servers.child import ProcessId
from tests.local.conftest import free_port_base
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]


def environment(place: Place, *, demo_data: bool = False) -> dict[str, str]:
    """What a command is told. Demo data is made by the first fleet only: it takes longer than the start itself."""
    home, base = str(place.home), str(place.port_base)
    return os.environ | {"DEZKY_HOME": home, "DEZKY_PORT_BASE": base, "SEED": "1" if demo_data else "0"}


def local(place: Place, *command: str, demo_data: bool = False) -> "subprocess.CompletedProcess[str]":
    """Runs a command on a place, as `make` does."""
    return subprocess.run(
        [sys.executable, "-m", "infrastructure.local", *command],
        cwd=ROOT,
        env=environment(place, demo_data=demo_data),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A fleet that is up; each test leaves it so."""
    place = Place(tmp_path_factory.mktemp("fleet") / "home", free_port_base())
    started = local(place, "up", demo_data=True)
    assert started.returncode == 0, started.stdout + started.stderr
    yield place
    ended = local(place, "down")
    assert ended.returncode == 0, ended.stderr


@dataclass(frozen=True)
class Ended:
    """A place whose fleet ran beside another one and was ended."""

    place: Place
    identities: Collection[ProcessId]
    answered: int


@pytest.fixture(scope="module")
def ended(fleet: Place, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    place = Place(tmp_path_factory.mktemp("second") / "home", free_port_base())
    assert local(place, "up").returncode == 0
    identities = seen(place).identities.values()
    with urllib.request.urlopen(f"{place.url(0)}/livez", timeout=5) as answer:
        answered = answer.status
    assert local(place, "down").returncode == 0
    return Ended(place, identities, answered)


def start_run(place: Place) -> "subprocess.Popen[bytes]":
    """Starts `run`, its output in the file `output` of the home."""
    command = [sys.executable, "-m", "infrastructure.local", "run"]
    with (place.home / "output").open("w") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment(place), stdout=output, stderr=output)


def seen(place: Place) -> state.FleetState:
    fleet = lifecycle.running(place)
    assert fleet is not None
    return fleet


def taken_ports(place: Place) -> list[int]:
    return [
        place.port(offset)
        for process in PROCESSES
        for offset in process.offsets.values()
        if ports.is_taken(place.port(offset))
    ]


def test_every_process_is_ready_and_up_again_says_so(fleet: Place) -> None:
    assert {process.name: process.state for process in seen(fleet).processes} == {
        process.name: state.READY for process in PROCESSES
    }
    again = local(fleet, "up")
    assert again.returncode == 0
    assert again.stdout.startswith("The fleet is already running.")


def test_the_summary_names_the_gateway_and_everybody_with_the_password(fleet: Place) -> None:
    said = local(fleet, "up").stdout
    assert f"http://127.0.0.1:{fleet.port_base}\n" in said
    people = json.loads((fleet.secrets / "people.json").read_text())
    assert len(people) == 7
    for name, person in people.items():
        assert any(name in line and person["password"] in line for line in said.splitlines())


def test_status_is_a_table_and_succeeds_while_all_is_ready(fleet: Place) -> None:
    shown = local(fleet, "status")
    assert shown.returncode == 0
    rows = {line.split()[0]: line.split() for line in shown.stdout.splitlines()[1:]}
    for process in seen(fleet).processes:
        assert process.identity is not None
        assert rows[process.name][1:4] == [str(process.identity.pid), str(process.port), "ready"]


def test_token_prints_one_token_of_that_person_and_surface(fleet: Place) -> None:
    printed = local(fleet, "token", "operator@dezky.local", "operator")
    assert printed.returncode == 0, printed.stderr
    assert printed.stderr == ""
    assert printed.stdout.count("\n") == 1
    payload = printed.stdout.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["preferred_username"] == "operator@dezky.local"
    assert claims["aud"] == "dezky-operator"
    assert claims["iss"] == f"http://127.0.0.1:{fleet.port_base + 20}/application/o/dezky-operator/"


@pytest.mark.parametrize(
    ("person", "surface", "known"),
    [("nobody@dezky.local", "operator", "AS is one of"), ("operator@dezky.local", "admin", "SURFACE is one of")],
)
def test_a_token_of_nobody_or_nowhere_is_one_line(fleet: Place, person: str, surface: str, known: str) -> None:
    refused = local(fleet, "token", person, surface)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert known in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_process_sees_no_secret_of_another(fleet: Place) -> None:
    mongo = json.loads((fleet.secrets / "mongo.json").read_text())
    for process in seen(fleet).processes:
        assert process.identity is not None
        told = Path(f"/proc/{process.identity.pid}/environ").read_text()
        told += Path(f"/proc/{process.identity.pid}/cmdline").read_text()
        # The archiver lives in the audit service, under a user of its own.
        own = {process.name} | ({"audit_archiver"} if process.name == "audit" else set())
        assert {name for name, secret in mongo.items() if secret in told} <= own


@pytest.mark.parametrize("name", [process.name for process in PROCESSES])
async def test_a_killed_process_comes_back_and_the_status_says_so(fleet: Place, name: str) -> None:
    before = {process.name: process for process in seen(fleet).processes}[name]
    assert before.identity is not None
    os.kill(before.identity.pid, signal.SIGKILL)

    async def back() -> bool:
        now = seen(fleet)
        child = {process.name: process for process in now.processes}[name]
        return child.restarts == before.restarts + 1 and now.ready

    assert await eventually(back, seconds=60)


def test_a_second_fleet_runs_beside_the_first_and_leaves_nothing(fleet: Place, ended: Ended) -> None:
    assert ended.answered == 200
    assert not any(identity.alive() for identity in ended.identities)
    assert taken_ports(ended.place) == []
    assert local(ended.place, "status").returncode == 1
    assert seen(fleet).ready


def test_another_port_base_for_a_fleet_that_runs_is_refused(fleet: Place) -> None:
    refused = local(Place(fleet.home, free_port_base()), "up")
    assert refused.returncode == 2
    assert f"runs already, at DEZKY_PORT_BASE={fleet.port_base}" in refused.stderr
    assert seen(fleet).ready


def test_a_taken_port_is_one_line_and_nothing_is_left_running(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port(30)))
        other.listen()
        refused = local(place, "up")
    assert refused.returncode == 2
    assert f"Port {place.port(30)} (mongod) is taken by" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert state.load(place) is None
    assert taken_ports(place) == []


def test_lost_secrets_are_one_line_and_nothing_is_left_running(ended: Ended) -> None:
    place = ended.place
    (place.secrets / "mongo.json").unlink()
    refused = local(place, "up")
    assert refused.returncode == 2
    assert "Move its mongod folder and its secrets away together" in refused.stderr
    assert taken_ports(place) == []


async def test_after_a_killed_supervisor_down_leaves_nothing_and_up_starts_anew(place: Place) -> None:
    assert local(place, "up").returncode == 0
    before = seen(place)
    before.supervisor.signal(signal.SIGKILL)
    assert before.supervisor.wait_gone(5)
    assert local(place, "status").returncode == 1
    assert local(place, "up").returncode == 0
    after = seen(place)
    assert after.supervisor != before.supervisor
    assert not any(identity.alive() for identity in before.identities.values())
    after.supervisor.signal(signal.SIGKILL)
    assert local(place, "down").returncode == 0
    assert not any(identity.alive() for identity in after.identities.values())
    assert taken_ports(place) == []


def test_down_without_a_fleet_succeeds(place: Place) -> None:
    ended = local(place, "down")
    assert ended.returncode == 0
    assert ended.stdout == "The fleet is not running.\n"


async def test_run_follows_the_logs_and_ends_the_fleet_on_ctrl_c(place: Place) -> None:
    running = start_run(place)

    async def follows() -> bool:
        return "A token: " in (place.home / "output").read_text()

    await eventually(follows, seconds=120)
    identities = seen(place).identities.values()
    running.send_signal(signal.SIGINT)
    assert running.wait(120) == 0
    assert not any(identity.alive() for identity in identities)
    assert taken_ports(place) == []
