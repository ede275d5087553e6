"""Fixtures of all suites: real servers from the wheels, and one whole fleet for whoever asks for it."""

import os
from pathlib import PurePath

import pytest

from tests.support.fleet import fleet
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

SHARED_IN_A_MODULE = {
    *(
        "authentik",
        "desk",
        "exposed_gateway",
        "fleet_nats",
        "guarded",
        "passwords",
        "shared_gateway",
        "stored",
        "suite",
    ),
}
"""Fixtures that start servers for a whole module."""

__all__ = [
    "database",
    "drop_database",
    "fleet",
    "mongo",
    "mongod",
    "nats_prefix",
    "nats_server",
    "nats_topology",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "service_environment",
]


def pytest_configure() -> None:
    """Trust nobody on TLS: no test speaks it, and to load the machine's roots takes every HTTP client 20 ms or more."""
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = os.devnull


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep on one worker what shares servers, and begin with it: the rest fills the gaps."""
    for item in items:
        shares = not SHARED_IN_A_MODULE.isdisjoint(getattr(item, "fixturenames", ()))
        if shares and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(PurePath(item.path).stem))
    items.sort(
        key=lambda item: (item.get_closest_marker("fleet") is None, item.get_closest_marker("xdist_group") is None)
    )
