"""Rebuilding and comparing projections: the service's own program, beside the one that runs, with its environment."""

import subprocess
import sys

from infrastructure.local import lifecycle
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import ROOT, Place
from infrastructure.local.processes import OWNERS, SERVICES, minimal_environment

FAILED = 1


def run(place: Place, verb: str, service: str, projection: str | None) -> int:
    """Runs `rebuild` or `compare` and returns its exit code. Raises Obstacle."""
    if service not in OWNERS:
        wrong = f"{service!r} keeps no projection" if service else "No service is named"
        raise Obstacle(wrong, f"Write `make {verb} SERVICE=` with one of {', '.join(OWNERS)}")
    fleet = lifecycle.running(place) if place.state.is_dir() else None
    if fleet is None:
        print("The fleet is not running. Start it with `make up`.", file=sys.stderr)
        return FAILED
    process = next(process for process in SERVICES if process.name == service)
    own = process.environment(place, lifecycle.credentials_of(place))
    words = [verb, *([projection] if projection else [])]
    done = subprocess.run(
        [*process.command(place), *words], cwd=ROOT, env=minimal_environment() | dict(own), check=False
    )
    return done.returncode if done.returncode >= 0 else FAILED
