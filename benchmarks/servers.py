"""MongoDB and NATS for a benchmark: the servers of the product with its settings, beside the subject's core."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats

from benchmarks.processes import free_port
from infrastructure.bootstrap import streams
from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer, NatsUser, render_config
from shared import topology
from shared.testing import public_keys, seed_text
from shared.topology import Topology

_PASSWORD = "a-password-of-benchmarks"


@dataclass(frozen=True)
class Servers:
    """A mongod (one-node replica set, journaled) and a nats-server that syncs before it acknowledges."""

    mongo_uri: str
    nats_port: int

    def nats_url(self, process: str) -> str:
        """Return the URL of a process's own user."""
        return f"nats://{process}:{_PASSWORD}@127.0.0.1:{self.nats_port}"

    def environment(self, service: str, port: int) -> dict[str, str]:
        """Return what a service is told; its database is named after it."""
        keys = {kid: key.model_dump() for kid, key in public_keys().items()}
        own: dict[str, Any] = {
            "PORT": port,
            "MONGO_URI": self.mongo_uri,
            "MONGO_DATABASE": service,
            "NATS_URL": self.nats_url(service),
            "INTERNAL_SIGNING_KEY": seed_text(service),
            "INTERNAL_SIGNING_KID": f"{service}-1",
            "LOG_LEVEL": "WARNING",
        }
        if service == "tenant":  # nothing is asked of it here
            own |= {"AUTHENTIK_URL": "http://127.0.0.1:9", "AUTHENTIK_TOKEN": "a-token-of-benchmarks"}
            own["CERTIFICATE_KEY"] = seed_text("certificate")
        if service == "audit":
            own |= {"SIGNING_KEY": seed_text("signing"), "PERSONAL_KEY": seed_text("personal")}
            own["CHECKPOINT_KEYS"] = json.dumps([{"seed": seed_text("checkpoint")}])
        return {f"{service.upper()}_{name}": str(value) for name, value in own.items()} | {
            "INTERNAL_PUBLIC_KEYS": json.dumps(keys),
            "DEZKY_ENVIRONMENT": "local",
        }


@contextlib.asynccontextmanager
async def mongod(folder: Path) -> AsyncIterator[str]:
    """Run a mongod; yields its root's URI. A gigabyte of cache: what is measured is not the disk's reading."""
    server = MongodServer(folder / "mongod", free_port(), cache_gb=1.0)
    server.directory.mkdir()
    server.start()
    try:
        yield server.uri
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Servers]:
    """Run mongod and nats-server with all streams and consumers."""
    port, monitor = free_port(), free_port()
    users = [NatsUser("admin", _PASSWORD), *(NatsUser(name, _PASSWORD) for name in topology.BY_NAME)]
    config = render_config(port, monitor, folder / "nats" / "jetstream", users)
    server = NatsServer(folder / "nats", port, monitor, config)
    async with mongod(folder) as uri:
        server.start()
        try:
            found = Servers(uri, port)
            admin = await nats.connect(found.nats_url("admin"))
            await streams.ensure(admin, Topology())
            await admin.close()
            yield found
        finally:
            server.kill()
