"""The commands: `python -m infrastructure.local up|down|run|status|token|logs|rebuild|compare|backup|restore|clean`.

Exit codes: 0 done, 1 it did not work or not everything is ready, 2 something on this machine is in the way.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from infrastructure.local import lifecycle, supervisor
from infrastructure.local.errors import Obstacle, StartFailed
from infrastructure.local.place import Place

OK, FAILED, IN_THE_WAY, INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """Runs one command and returns its exit code."""
    arguments = _parser().parse_args()
    command: Callable[[Place, argparse.Namespace], int] = arguments.run
    try:
        return command(Place.from_environment(), arguments)
    except Obstacle as obstacle:
        print(obstacle, file=sys.stderr)
        return IN_THE_WAY
    except StartFailed as failed:
        print(failed, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `make logs | head`
        sys.stderr.close()
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infrastructure.local", description="Runs the whole fleet on this machine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Place, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("up", up, "start the fleet and return when it is ready")
    add("down", down, "end the fleet")
    add("run", run, "start the fleet, follow its logs, end it on Ctrl-C")
    add("status", status, "show every process; fails unless all required ones are ready")
    token = add("token", print_token, "print an access token of a demo person, and nothing else")
    token.add_argument("person", help="user name, e.g. staff@nordic.example")
    token.add_argument("surface", help="operator or portal")
    logs = add("logs", print_logs, "print the logs")
    logs.add_argument("process", nargs="*", help="default: all")
    logs.add_argument("-n", "--lines", type=int, default=50, help="of each log (default: 50)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    for verb, text in (
        ("rebuild", "build a service's projections anew from their owners, while everything runs"),
        ("compare", "compare a service's projections with their owners; fails if they differ"),
    ):
        command = add(verb, projections, text)
        command.set_defaults(verb=verb)
        command.add_argument("service", help="e.g. partner")
        command.add_argument("projection", nargs="?", help="default: all of the service")
    saved = add("backup", backup, "write a backup of the running fleet, and its keys apart from it")
    saved.add_argument("--to", type=Path, metavar="FOLDER", help="must not exist (default: a new one, by the time)")
    saved.add_argument("--keys", type=Path, metavar="FILE", help="where the keys go (default: beside the backups)")
    restored = add("restore", restore, "restore a backup; MongoDB and NATS must have no data")
    restored.add_argument("folder", help="the backup")
    restored.add_argument("--keys", type=Path, metavar="FILE", help="where the keys are (default: as backup puts them)")
    add("erasures", erasures, "bring the list of the erased, which is outside of every backup, up to date")
    add("clean", clean, "end the fleet and delete its state, logs and secrets")
    add("supervise", supervise, "own the processes (started by `up`)")
    return parser


def up(place: Place, _arguments: argparse.Namespace) -> int:
    """Starts the fleet and says how to reach it."""
    from infrastructure.local import demo_data, display  # noqa: PLC0415 - `token` and `status` start faster without

    with display.progress() as show:
        started = lifecycle.up(place, show)
    if not started:
        print("The fleet is already running.")
    credentials = lifecycle.credentials_of(place)
    if os.environ.get("SEED", "1") != "0" and not demo_data.is_complete(place):
        print("Making the demo data …", flush=True)
        demo_data.ensure(place, credentials)
    display.summary(place, credentials)
    return OK


def down(place: Place, _arguments: argparse.Namespace) -> int:
    """Ends the fleet; a second Ctrl-C does not stop the stopping."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = lifecycle.down(place)
    print(f"Ended: {', '.join(ended)}." if ended else "The fleet is not running.")
    return OK


def run(place: Place, arguments: argparse.Namespace) -> int:
    """Starts the fleet, or joins the one that runs, and ends it on Ctrl-C."""
    from infrastructure.local.tail import print_logs as follow  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    up(place, arguments)
    try:
        follow(place, [], 0, follow=True)
    except KeyboardInterrupt:
        return down(place, arguments)
    return OK


def status(place: Place, _arguments: argparse.Namespace) -> int:
    """Prints the table."""
    fleet = lifecycle.running(place) if place.state.is_dir() else None
    if fleet is None:
        print("The fleet is not running. Start it with `make up`.", file=sys.stderr)
        return FAILED
    from infrastructure.local import display  # noqa: PLC0415

    display.status(fleet)
    return OK if fleet.ready else FAILED


def print_token(place: Place, arguments: argparse.Namespace) -> int:
    """Prints an access token."""
    from infrastructure.local.access_token import fetch_token  # noqa: PLC0415

    if not place.secrets.is_dir():
        raise Obstacle(f"There is no fleet in {place.home}", "Run `make up` first")
    print(fetch_token(place, lifecycle.credentials_of(place), arguments.person, arguments.surface))
    return OK


def print_logs(place: Place, arguments: argparse.Namespace) -> int:
    """Prints the logs of the processes named."""
    from infrastructure.local.tail import print_logs as show  # noqa: PLC0415

    if unknown := lifecycle.unknown_processes(arguments.process):
        raise Obstacle(f"There is no process {unknown[0]!r}", "`make status` lists them")
    show(place, arguments.process, arguments.lines, follow=arguments.follow)
    return OK


def projections(place: Place, arguments: argparse.Namespace) -> int:
    """Rebuilds or compares projections of a service of the running fleet."""
    from infrastructure.local.projections import run as run_beside  # noqa: PLC0415

    return run_beside(place, arguments.verb, arguments.service, arguments.projection)


def backup(place: Place, arguments: argparse.Namespace) -> int:
    """Backs up the running fleet."""
    from infrastructure.local import backups  # noqa: PLC0415

    print(backups.back_up(place, arguments.to, arguments.keys))
    return OK


def restore(place: Place, arguments: argparse.Namespace) -> int:
    """Restores a backup."""
    from infrastructure.local import backups  # noqa: PLC0415

    if not arguments.folder:
        raise Obstacle("No backup is named", "Write `make restore FROM=` with the folder of one")
    print(backups.restore(place, Path(arguments.folder), arguments.keys))
    return OK


def erasures(place: Place, _arguments: argparse.Namespace) -> int:
    """Writes the list of the erased."""
    from infrastructure.local import backups  # noqa: PLC0415

    print(backups.write_erasures(place))
    return OK


def clean(place: Place, _arguments: argparse.Namespace) -> int:
    """Deletes the three folders, and the home if nothing else is in it."""
    lifecycle.down(place)
    for folder in (place.state, place.logs, place.secrets):
        if folder.exists():
            shutil.rmtree(folder)
    if place.home.is_dir() and not any(place.home.iterdir()):
        place.home.rmdir()
    return OK


def supervise(place: Place, _arguments: argparse.Namespace) -> int:
    """Supervises until SIGTERM."""
    return supervisor.main(place, lifecycle.credentials_of(place))
