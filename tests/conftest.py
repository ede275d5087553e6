"""Fixtures of all suites: real servers from the wheels, and one whole fleet for whoever asks for it."""

import gc
import os
import signal
from typing import Any

import pytest
from hypothesis import settings

from tests.support.fleet import fleet
from tests.support.forgotten import excuse_the_driver
from tests.support.scheduling import OWN_FLEET, ByFile, needs_fleet, rank
from tests.support.servers import (
    database,
    drop_database,
    mongo,
    mongod,
    nats_prefix,
    nats_server,
    nats_topology,
    service_environment,
)

__all__ = [
    "database",
    "drop_database",
    "fleet",
    "mongo",
    "mongod",
    "nats_prefix",
    "nats_server",
    "nats_topology",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_xdist_make_scheduler",
    "service_environment",
]


def pytest_configure() -> None:
    """Trust nobody on TLS: no test speaks it, and to load the machine's roots takes every HTTP client 20 ms or more."""
    gc.disable()  # until everything is collected: nothing of that is garbage
    # Who starts in the background of a shell ignores it, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = os.devnull
    excuse_the_driver()
    # What a property costs is not what it says: one full collection in a worker takes longer than 200 ms.
    settings.register_profile("dezky", deadline=None)
    settings.load_profile("dezky")


def pytest_collection_finish() -> None:
    """Keep thousands of tests out of every full collection, which would walk them all."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest.

    Raises:
        UsageError: a test needs the fleet where nobody expects it: it would start one more.
    """
    for item in items:
        path = item.nodeid.split("::", 1)[0]
        if "fleet" in getattr(item, "fixturenames", ()) and not needs_fleet(path) and path != OWN_FLEET:
            raise pytest.UsageError(f"{path} uses the fleet: name it in tests/support/scheduling.py")
    items.sort(key=lambda item: rank(item.nodeid))
