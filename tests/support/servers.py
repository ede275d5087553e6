"""Real servers for tests: one mongod and one nats-server per worker, a database and a prefix per test."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
import uvicorn
from pymongo import MongoClient

from infrastructure.bootstrap import streams
from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer, NatsUser, render_config
from shared import topology
from shared.mongo import Mongo
from shared.testing import public_keys, seed_text
from shared.topology import Topology

NATS_PASSWORD = "a-password-of-tests"


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongodServer]:
    server = MongodServer(tmp_path_factory.mktemp("mongod"), free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server where every process of the fleet may say everything: for tests of other things than permissions."""
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


def start_nats(directory: Path) -> NatsServer:
    """Start a nats-server whose users, one per process, are not restricted."""
    users = [NatsUser("admin", NATS_PASSWORD), *(NatsUser(name, NATS_PASSWORD) for name in topology.BY_NAME)]
    port, monitor = free_port(), free_port()
    server = NatsServer(directory, port, monitor, render_config(port, monitor, directory / "jetstream", users))
    server.start()
    return server


def nats_url(server: NatsServer, process: str) -> str:
    """Return the URL of a process's own user."""
    return f"nats://{process}:{NATS_PASSWORD}@127.0.0.1:{server.port}"


@dataclass(frozen=True)
class TestDatabase:
    """A database of one test, and a URI that opens it."""

    __test__ = False
    uri: str
    name: str


@pytest.fixture(scope="session")
def drop_database(mongod: MongodServer) -> Iterator[Callable[[str], None]]:
    """Drops a database while the next test runs: mongod waits a tenth of a second for its journal, idle."""
    dropped: list[Future[None]] = []
    with MongoClient[dict[str, Any]](mongod.uri) as root, ThreadPoolExecutor(1) as beside:
        yield lambda name: dropped.append(beside.submit(root.drop_database, name))
    for done in dropped:
        done.result()


@pytest.fixture
def database(mongod: MongodServer, drop_database: Callable[[str], None]) -> Iterator[TestDatabase]:
    name = f"t{secrets.token_hex(6)}"
    yield TestDatabase(mongod.uri, name)
    drop_database(name)


@pytest.fixture
async def mongo(database: TestDatabase) -> AsyncIterator[Mongo]:
    opened = Mongo(database.uri, database.name, "tests")
    yield opened
    await opened.close()


@pytest.fixture
async def nats_topology(nats_server: NatsServer) -> AsyncIterator[Topology]:
    """Streams and consumers of the whole fleet under a prefix of this test."""
    async with topology_on(nats_server) as made:
        yield made


@contextlib.asynccontextmanager
async def topology_on(nats_server: NatsServer) -> AsyncIterator[Topology]:
    """Streams and consumers of the whole fleet under a prefix of their own."""
    made = Topology(f"t{secrets.token_hex(6)}")
    admin = await nats.connect(nats_url(nats_server, "admin"))
    await streams.ensure(admin, made)
    yield made
    js = admin.jetstream()
    await js.delete_stream(made.stream_events)
    await js.delete_stream(made.stream_dead)
    for bucket in made.bucket_configs():
        await js.delete_stream(bucket["name"])
    await admin.close()


@pytest.fixture
async def nats_prefix(nats_topology: Topology) -> str:
    """The prefix of this test's streams and subjects."""
    return nats_topology.stream_events.removesuffix("-EVENTS")


@pytest.fixture
def service_environment(database: TestDatabase, nats_server: NatsServer, nats_prefix: str) -> Any:
    """Return a function that gives the settings of a service as keyword arguments."""
    return functools.partial(environment_of, database, nats_server, nats_prefix)


def environment_of(
    database: TestDatabase, nats_server: NatsServer, nats_prefix: str, service: str, **more: Any
) -> dict[str, Any]:
    """Return the settings of a service as keyword arguments."""
    return {
        "port": free_port(),
        "mongo_uri": database.uri,
        "mongo_database": database.name,
        "nats_url": nats_url(nats_server, service),
        "internal_signing_key": seed_text(service),
        "internal_signing_kid": f"{service}-1",
        "internal_public_keys": {k: v.model_dump() for k, v in public_keys().items()},
        "nats_prefix": nats_prefix,
        "environment": "test",
        **({"certificate_key": seed_text("certificate")} if service == "tenant" else {}),
        **({"checkpoint_keys": [{"seed": seed_text("checkpoint")}]} if service == "audit" else {}),
        **more,
    }


class PromptServer(uvicorn.Server):
    """uvicorn that notices at once what it else looks for ten times a second: that it shall end, that all is done."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._ended = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        return self._ended.is_set()

    @should_exit.setter
    def should_exit(self, wanted: bool) -> None:
        if wanted:
            self._ended.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event
                    await asyncio.sleep(0.005)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


class LiveServer:
    """An ASGI application behind a real socket, in this event loop, for ``async with``."""

    def __init__(self, app: Any, port: int) -> None:
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=3
        )
        self._server = PromptServer(config)
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    async def __aenter__(self) -> LiveServer:
        self._task = asyncio.create_task(self._server.serve())
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._task
