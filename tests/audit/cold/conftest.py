"""An archiver as its own MongoDB user over an S3 store in this process, and crashes at any of its steps."""

from __future__ import annotations

import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from infrastructure.bootstrap.database_access import ROLES
from services.audit.chain import Appended
from services.audit.cold.archiver import Archiver, Limits
from services.audit.cold.batches import Batches
from services.audit.cold.journal import Journal
from services.audit.cold.manifest import ManifestSigner
from services.audit.cold.models import Ran
from services.audit.cold.mover import Mover, Tenure
from services.audit.cold.object_store import Access, ObjectStore
from services.audit.cold.repository import ArchiveRepository, ColdRepository
from services.audit.cold.tiers import TieredLog, TieredPages
from services.audit.repository import AuditRepository
from shared.actors import actor_of
from shared.leases import Lease
from shared.mongo import Database, Mongo
from shared.outbox import Outbox
from shared.testing import ManualClock, operator
from tests.audit.cold.fake_s3 import IMPATIENT_SECONDS, PATIENT_SECONDS, FakeS3
from tests.audit.events import encode, suspended, tenant_event
from tests.local.conftest import free_port_base
from tests.support.servers import MongodServer, TestDatabase
from tests.support.weed import WeedServer

LATER = timedelta(days=100)
SIGNING_KEY = bytes(range(32))
OLGA = actor_of(operator())


class Crash(Exception):
    """The process ended here."""


class Steps:
    """Counts the calls that leave the process, and ends it at one of them: before it (odd) or after it (even)."""

    def __init__(self, crash_at: int = 0) -> None:
        self.crash_at = crash_at
        self.taken = 0

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.crash_at:
            raise Crash


class Crashing:
    """Something whose asynchronous calls are steps."""

    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._inner, name)

        @functools.wraps(called)
        async def call(*args: Any, **named: Any) -> Any:
            self._steps.step()
            result = await called(*args, **named)
            self._steps.step()
            return result

        return call


class Rig:
    """Makes archivers over one store and one database, each a new process."""

    def __init__(self, mongo: Mongo, reader: Mongo, store: ObjectStore, s3: FakeS3) -> None:
        self.mongo = mongo
        self.s3 = s3
        self.store = store
        self.clock = ManualClock()
        self.clock.advance(LATER)
        self.signer = ManifestSigner([SIGNING_KEY])
        self.repository = AuditRepository(reader.db)
        self.rows = ColdRepository(reader.db)
        self.batches = Batches(store, self.signer)
        self.log = TieredLog(self.repository, self.rows, self.batches)
        self.pages = TieredPages(self.repository, self.rows, self.batches)
        self.own = ArchiveRepository(mongo.db)

    def tenure(self, holder: str = "tests") -> Tenure:
        return Tenure(Lease(self.mongo.db, "audit-archive", holder))

    def archiver(
        self, tenure: Tenure, steps: Steps | None = None, limits: Limits | None = None, mover: Mover | None = None
    ) -> Archiver:
        steps = steps or Steps()
        own: Any = Crashing(self.own, steps)
        store: Any = Crashing(self.store, steps)
        journal = Journal(Outbox(self.mongo, "audit", self.clock))
        mover = mover or Mover(self.mongo.transactions, own, tenure, journal)
        return Archiver(store, self.signer, own, mover, self.clock, limits or Limits(most_entries=4))

    async def run(self, steps: Steps | None = None, limits: Limits | None = None) -> Ran:
        tenure = self.tenure()
        async with tenure.held():
            return await self.archiver(tenure, steps, limits).run()

    async def restore(self, start_seq: int) -> Any:
        tenure = self.tenure()
        async with tenure.held():
            return await self.archiver(tenure).restore(start_seq, OLGA)

    async def walked(self) -> list[dict[str, Any]]:
        return [entry async for batch in self.log.walk(0, 10_000) for entry in batch]


@pytest.fixture
def archiver_uri(mongod: MongodServer, audit_database: TestDatabase) -> Iterator[str]:
    """A URI of the archiver's user, under the role that the local runner gives it."""
    (role,) = (role for role in ROLES if role.name == "audit_archive")
    password = secrets.token_urlsafe(16)
    with MongoClient[dict[str, Any]](mongod.uri) as root:
        db = root[audit_database.name]
        db.command(replace(role, database=audit_database.name).command("createRole"))
        db.command("createUser", "audit_archiver", pwd=password, roles=["audit_archive"])
        name = audit_database.name
        yield f"mongodb://audit_archiver:{password}@127.0.0.1:{mongod.port}/?replicaSet=rs0&authSource={name}"
        db.command("dropUser", "audit_archiver")
        db.command("dropRole", "audit_archive")


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeedServer]:
    """A real S3 server."""
    # Each of its ports takes another one 10,000 above, so none of the highest will do.
    base = free_port_base()
    server = WeedServer(tmp_path_factory.mktemp("weed"), [base + offset for offset in range(4)])
    yield server
    server.kill()


@pytest.fixture
async def s3() -> AsyncIterator[FakeS3]:
    async with FakeS3() as server:
        yield server


@pytest.fixture
async def store(s3: FakeS3, request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    """A client of the fake; impatient where the test's parameter `fault` is a timeout."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    patience = IMPATIENT_SECONDS if parameters.get("fault") == "timeout" else PATIENT_SECONDS
    access = Access(s3.url, "local", "key", "secret", encrypted=True, read_seconds=patience)
    opened = ObjectStore(access, "bucket", part_bytes=64 * 1024)
    yield opened
    await opened.close()


@pytest.fixture
async def rig(
    archiver_uri: str, audit_database: TestDatabase, audit_mongo: Mongo, store: ObjectStore, s3: FakeS3
) -> AsyncIterator[Rig]:
    mongo = Mongo(archiver_uri, audit_database.name, "tests-archiver")
    made = Rig(mongo, audit_mongo, store, s3)
    yield made
    await made.pages.close()
    await mongo.close()


Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]


@pytest.fixture
async def ten(chain: Chain, root_db: Database) -> list[dict[str, Any]]:
    """Ten chained entries, numbers 3 and 8 of them suspensions; as they lie in MongoDB."""
    await chain(encode(*(suspended(n) if n in {3, 8} else tenant_event(n) for n in range(1, 11))))
    return await root_db["entries"].find().sort("_id", 1).to_list()
