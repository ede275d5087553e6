"""What a person sees: the live table, the status table, and how to reach the fleet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infrastructure.local import seeds
from infrastructure.local.credentials import Credentials
from infrastructure.local.demo_data import is_complete
from infrastructure.local.lifecycle import Show
from infrastructure.local.place import Place
from infrastructure.local.processes import GATEWAY_OFFSET, PROCESSES
from infrastructure.local.state import READY, RESTARTING, STARTING, UNREADY, FleetState, ProcessState

_COLOURS = {READY: "green", STARTING: "yellow", UNREADY: "red", RESTARTING: "red"}
_PLAIN_WIDTH = 140


@contextmanager
def progress() -> Iterator[Show]:
    """Shows the fleet coming up: a live table on a terminal, else a line for each change."""
    if sys.stdout.isatty():
        with Live(Table(), refresh_per_second=10) as live:
            yield lambda fleet: live.update(_table(fleet))
    else:
        yield _Lines().show


class _Lines:
    """One line for each process that became ready or died."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, int]] = {}

    def show(self, fleet: FleetState) -> None:
        for process in fleet.processes:
            now = (process.state, process.restarts)
            if process.state != STARTING and self._said.get(process.name) != now:
                self._said[process.name] = now
                again = f" (restart {process.restarts})" if process.restarts else ""
                print(f"{process.name}: {process.state}{_took(process)}{again} {process.problem}".rstrip())
                sys.stdout.flush()


def _took(process: ProcessState) -> str:
    return f" after {process.seconds:.1f} s" if process.seconds is not None else ""


def _table(fleet: FleetState) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in ("process", "pid", "port", "ready", "took", "since", "restarts", ""):
        table.add_column(heading, justify="right" if heading in {"pid", "port", "took", "restarts"} else "left")
    now = time.time()
    for process in fleet.processes:
        colour = _COLOURS.get(process.state, "default")
        waited = max(0.0, now - process.since)
        table.add_row(
            process.name,
            str(process.identity.pid) if process.identity else "-",
            str(process.port),
            f"[{colour}]{process.state}[/]" + ("" if process.required else " (not required)"),
            f"{process.seconds:.1f} s" if process.seconds is not None else f"{waited:.1f} s …",
            time.strftime("%H:%M:%S", time.localtime(process.since)),
            str(process.restarts),
            process.problem,
        )
    return table


def status(fleet: FleetState) -> None:
    """Prints the table of `make status`."""
    _console().print(_table(fleet))


def summary(place: Place, credentials: Credentials) -> None:
    """Prints where the fleet is and who may sign in."""
    console = _console()
    console.print(f"\nGateway   {place.url(GATEWAY_OFFSET)}", highlight=False)
    for process in PROCESSES:
        if process.offset != GATEWAY_OFFSET and process.ready_path:
            offset = process.offset if process.ready_offset is None else process.ready_offset
            console.print(f"{process.name:<9} {place.url(offset)}", highlight=False)
    people = Table(box=None, header_style="bold")
    for heading in ("person", "password", "what they are"):
        people.add_column(heading, no_wrap=True)
    for person in seeds.demo_people():
        if not (is_complete(place) or person.place == seeds.OPERATOR):
            continue
        people.add_row(person.username, credentials.people[person.username].password, person.place)
    console.print()
    console.print(people)
    console.print(f"\nState, logs and secrets: {place.home}", highlight=False, soft_wrap=True)
    console.print("A token: make -s token AS=staff@nordic.example SURFACE=portal", highlight=False)


def _console() -> Console:
    """The terminal; a pipe gets lines long enough that nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
