"""Fixtures of the audit suite: the audit service's own restricted MongoDB user, and chains to tamper with."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import nats
import pytest
from pymongo import MongoClient

from infrastructure.bootstrap.database_access import ROLES
from infrastructure.local.servers.nats import NatsServer
from services.audit.chain import Appended, ChainWriter
from services.audit.facts import interpret
from services.audit.personal import Vault
from services.audit.repository import INDEXES, AuditRepository
from shared.app import COMMON_INDEXES
from shared.leases import Lease
from shared.mongo import Database, Mongo
from shared.testing import ManualClock
from tests.audit.events import KEY_TEXT, PERSONAL_KEY
from tests.support.servers import MongodServer, TestDatabase, nats_url


@pytest.fixture
def audit_database(mongod: MongodServer, database: TestDatabase) -> Iterator[TestDatabase]:
    """The test's database under the role that the local runner gives to the audit service."""
    (role,) = (role for role in ROLES if role.name == "audit_append")
    command = replace(role, database=database.name).command("createRole")
    password = secrets.token_urlsafe(16)
    with MongoClient[dict[str, Any]](mongod.uri) as root:
        db = root[database.name]
        db.command(command)
        db.command("createUser", "audit", pwd=password, roles=["audit_append"])
        uri = f"mongodb://audit:{password}@127.0.0.1:{mongod.port}/?replicaSet=rs0&authSource={database.name}"
        yield TestDatabase(uri, database.name)
        db.command("dropUser", "audit")
        db.command("dropRole", "audit_append")


@pytest.fixture
async def audit_mongo(audit_database: TestDatabase) -> AsyncIterator[Mongo]:
    opened = Mongo(audit_database.uri, audit_database.name, "tests-audit")
    await opened.ensure_indexes({**COMMON_INDEXES, **INDEXES})
    yield opened
    await opened.close()


@pytest.fixture
def repository(audit_mongo: Mongo) -> AuditRepository:
    return AuditRepository(audit_mongo.db)


@pytest.fixture
def vault() -> Vault:
    return Vault(PERSONAL_KEY)


@pytest.fixture
def root_db(mongo: Mongo) -> Database:
    """The same database for somebody who may write everything: MongoDB's root."""
    return mongo.db


@pytest.fixture
async def writer(audit_mongo: Mongo, repository: AuditRepository, vault: Vault) -> ChainWriter:
    lease = Lease(audit_mongo.db, "audit-chain", "tests")
    assert await lease.acquire()
    return ChainWriter(audit_mongo.transactions, repository, vault, lease)


@pytest.fixture
def chain(writer: ChainWriter) -> Callable[[Sequence[bytes]], Awaitable[Appended]]:
    """Chain events given as bytes, in one batch."""
    now = ManualClock().now()

    async def append(payloads: Sequence[bytes]) -> Appended:
        from tests.audit.events import type_of

        return await writer.append([interpret(type_of(payload), payload, now) for payload in payloads])

    return append


@pytest.fixture
def environment(service_environment: Any, audit_database: TestDatabase) -> dict[str, Any]:
    """The settings of the service under test, as keyword arguments."""
    keys = {"personal_key": KEY_TEXT, "signing_key": KEY_TEXT}
    made: dict[str, Any] = service_environment("audit", mongo_uri=audit_database.uri, **keys)
    return made


@pytest.fixture
async def admin(nats_server: NatsServer) -> AsyncIterator[Any]:
    """A connection of somebody who may say everything on NATS."""
    connection = await nats.connect(nats_url(nats_server, "admin"))
    yield connection
    await connection.close()
