"""The real MongoDB and NATS as child processes: plain and synchronous, so that tests use the same code."""

from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer, NatsUser, render_config

__all__ = ["MongodServer", "NatsServer", "NatsUser", "render_config"]
