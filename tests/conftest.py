"""Fixtures of all suites: real servers from the wheels, and one whole fleet for whoever asks for it."""

from tests.support.fleet import fleet
from tests.support.servers import (
    database,
    mongo,
    mongod,
    nats_prefix,
    nats_server,
    nats_topology,
    service_environment,
)

__all__ = [
    "database",
    "fleet",
    "mongo",
    "mongod",
    "nats_prefix",
    "nats_server",
    "nats_topology",
    "service_environment",
]
