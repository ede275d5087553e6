"""Fixtures of all suites: real servers from the wheels."""

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
    "mongo",
    "mongod",
    "nats_prefix",
    "nats_server",
    "nats_topology",
    "service_environment",
]
