"""Connections for the tests of the delivery chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from infrastructure.local.servers.nats import NatsServer
from shared.bus import Bus
from shared.mongo import Mongo
from shared.outbox import INDEXES
from shared.topology import Topology
from tests.integration.customers import Customers, customers_of
from tests.integration.owners import World, running
from tests.integration.parts import Streams, administrator, connected
from tests.support.servers import TestDatabase


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What the parts log, instead of on the terminal."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
async def bus(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Bus]:
    """The tenant service's connection."""
    async with connected(nats_server, "tenant", nats_topology) as made:
        yield made


@pytest.fixture
async def audit_bus(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Bus]:
    """The audit service's connection: the one that has a consumer."""
    async with connected(nats_server, "audit", nats_topology) as made:
        yield made


@pytest.fixture
async def streams(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Streams]:
    async with administrator(nats_server, nats_topology) as made:
        yield made


@pytest.fixture
async def outbox_indexes(mongo: Mongo) -> None:
    await mongo.ensure_indexes(INDEXES)


@pytest.fixture
async def owners_mongo(database: TestDatabase) -> AsyncIterator[Mongo]:
    opened = Mongo(database.uri, f"{database.name}_owner", "tests")
    yield opened
    await opened.close()
    with MongoClient(database.uri) as root:
        root.drop_database(f"{database.name}_owner")


@pytest.fixture
async def world(service_environment: Any, mongo: Mongo, owners_mongo: Mongo) -> AsyncIterator[World]:
    async with running(service_environment, mongo, owners_mongo) as made:
        yield made


@pytest.fixture
async def customers(service_environment: Any, mongo: Mongo, database: TestDatabase) -> AsyncIterator[Customers]:
    names = {owner: f"{database.name}_{owner}" for owner in ("tenant", "billing")}
    mongos = {owner: Mongo(database.uri, name, "tests") for owner, name in names.items()}
    async with customers_of(service_environment, mongo, mongos) as made:
        yield made
    for opened in mongos.values():
        await opened.close()
    with MongoClient(database.uri) as root:
        for name in names.values():
            root.drop_database(name)
