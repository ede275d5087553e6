"""The supervisor with small children of the test's own: restarts, readiness, order of stopping, giving up."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from infrastructure.local import state
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place
from infrastructure.local.processes import Command, Process
from infrastructure.local.servers.child import ProcessId
from infrastructure.local.supervisor import Supervisor
from tests.support.waiting import eventually

# A server that is ready unless its folder holds a file `sick`, and says what is sent to it.
SERVER = """
import http.server, os, pathlib, signal, sys, time
name, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])

def ended(*_):
    with (folder / "ended").open("a") as file:
        file.write(name + "\\n")
    os._exit(0)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if (folder / "sick").exists() else 200)
        self.end_headers()

signal.signal(signal.SIGTERM, ended)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def server(name: str, offset: int, *, needs: tuple[str, ...] = ()) -> Process:
    def command(place: Place) -> list[str]:
        return [sys.executable, "-c", SERVER, name, str(place.port(offset)), str(place.home)]

    return process(name, offset, command, needs=needs)


def process(name: str, offset: int, command: Command, *, needs: tuple[str, ...] = ()) -> Process:
    def nothing(_place: Place, _credentials: Credentials) -> Mapping[str, str]:
        return {}

    return Process(name, offset, command, nothing, ready_path="/ready", needs=needs)


@asynccontextmanager
async def supervised(place: Place, credentials: Credentials, *processes: Process) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(Supervisor(place, credentials, processes).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


def fleet_of(place: Place) -> state.FleetState:
    fleet = state.load(place)
    assert fleet is not None
    return fleet


async def ready(place: Place) -> state.FleetState:
    async def look() -> state.FleetState | None:
        fleet = fleet_of(place)
        return fleet if fleet.ready else None

    fleet = await eventually(look, what="every process is ready")
    assert fleet is not None
    return fleet


async def test_a_child_that_is_killed_is_started_again_and_counted(place: Place, credentials: Credentials) -> None:
    async with supervised(place, credentials, server("a", 0)):
        before = (await ready(place)).processes[0]
        assert before.identity is not None
        os.kill(before.identity.pid, signal.SIGKILL)

        async def again() -> bool:
            now = fleet_of(place).processes[0]
            return now.state == state.READY and now.restarts == 1

        await eventually(again)
        after = fleet_of(place).processes[0]
        assert after.identity is not None
        assert after.identity.alive()
        assert after.identity != before.identity


async def test_the_reason_of_a_death_is_shown(place: Place, credentials: Credentials) -> None:
    dying = process("a", 0, lambda _place: [sys.executable, "-c", "raise SystemExit(7)"])
    async with supervised(place, credentials, dying):

        async def shown() -> bool:
            child = fleet_of(place).processes[0]
            return child.restarts >= 2 and child.problem == "exited with 7" and child.identity is None

        await eventually(shown)


async def test_a_child_that_answers_503_is_not_ready_until_it_recovers(place: Place, credentials: Credentials) -> None:
    async with supervised(place, credentials, server("a", 0)):
        await ready(place)
        (place.home / "sick").touch()

        async def sick() -> bool:
            child = fleet_of(place).processes[0]
            return child.state == state.UNREADY and child.problem == "/ready answers 503" and child.restarts == 0

        await eventually(sick)
        (place.home / "sick").unlink()
        await ready(place)


async def test_whoever_needs_another_is_gone_before_the_other_is_asked_to_go(
    place: Place, credentials: Credentials
) -> None:
    processes = (
        server("database", 0),
        server("service", 1, needs=("database",)),
        server("gateway", 2, needs=("service",)),
    )
    async with supervised(place, credentials, *processes):
        await ready(place)
    assert (place.home / "ended").read_text().split() == ["gateway", "service", "database"]


async def test_after_the_stop_no_process_and_no_state_is_left(place: Place, credentials: Credentials) -> None:
    async with supervised(place, credentials, server("a", 0), server("b", 1)):
        identities = (await ready(place)).identities
    assert len(identities) == 2
    assert not any(identity.alive() for identity in identities.values())
    assert state.load(place) is None


async def test_the_pid_is_recorded_before_anything_else_is_known(place: Place, credentials: Credentials) -> None:
    sleeper = process("a", 0, lambda _place: [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    async with supervised(place, credentials, sleeper):

        async def recorded() -> ProcessId | None:
            return fleet_of(place).identities.get("a") if state.load(place) else None

        identity = await eventually(recorded)
        assert identity is not None
        assert identity.alive()


async def test_a_program_that_is_missing_ends_the_fleet_and_says_so(place: Place, credentials: Credentials) -> None:
    missing = process("b", 1, lambda _place: ["/nonexistent/program"])
    stop = asyncio.Event()
    supervisor = Supervisor(place, credentials, (server("a", 0), missing))
    async with asyncio.timeout(20):
        await supervisor.run(stop)
    fleet = fleet_of(place)
    assert "b cannot be kept running" in fleet.obstacle
    assert "/nonexistent/program" in fleet.obstacle
    assert not any(identity.alive() for identity in fleet.identities.values())


async def test_a_log_that_grew_too_long_is_put_aside_at_the_next_start(place: Place, credentials: Credentials) -> None:
    with place.log("a").open("wb") as log:
        log.truncate(21 * 1024 * 1024)
    async with supervised(place, credentials, server("a", 0)):
        await ready(place)
        assert place.log("a").stat().st_size < 1024 * 1024
        assert (place.logs / "a.log.1").exists()


@pytest.mark.parametrize(("damage", "remedy"), [("{", "Run `make down`"), ("[1]", "Run `make down`")])
def test_a_damaged_state_file_is_one_line_with_the_remedy(place: Place, damage: str, remedy: str) -> None:
    (place.state / "fleet.json").write_text(damage)
    with pytest.raises(Obstacle, match=remedy) as refused:
        state.load(place)
    assert "\n" not in str(refused.value)


def test_a_lock_is_held_by_one_and_free_again_afterwards(place: Place) -> None:
    with state.only_one(place, "x", wait=False) as first, state.only_one(place, "x", wait=False) as second:
        assert (first, second) == (True, False)
    with state.only_one(place, "x", wait=False) as third:
        assert third
