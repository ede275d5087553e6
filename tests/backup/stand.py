"""Three services of a platform, their databases and streams on the shared servers, and what searches and wipes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import nats
from bson.raw_bson import RawBSONDocument
from nats.aio.client import Client
from pymongo import MongoClient

from infrastructure.backup.deployment import Deployment
from infrastructure.bootstrap.streams import ensure
from infrastructure.local.servers.nats import NatsServer
from services.audit.main import build as build_audit
from services.audit.settings import AuditSettings
from services.flags.main import build as build_flags
from services.flags.settings import FlagsSettings
from services.tenant.main import build as build_tenant
from services.tenant.settings import TenantSettings
from shared.auth import Person
from shared.testing import Callers, operator, seed_text
from shared.topology import Topology
from tests.support.servers import LiveServer, TestDatabase, environment_of, nats_url
from tests.support.waiting import eventually

SERVICES = ("tenant", "flags", "audit")
# The health service has a database here, and does not run.
OWNERS = (*SERVICES, "health")
AUDIT_KEYS = {"personal_key": seed_text("personal"), "signing_key": seed_text("signing")}


@dataclass
class Stand:
    """A small platform. `serving` starts its services; the servers under it are the worker's own."""

    database: TestDatabase
    nats_server: NatsServer
    prefix: str

    @property
    def topology(self) -> Topology:
        return Topology(self.prefix)

    @property
    def databases(self) -> dict[str, str]:
        return {service: f"{self.database.name}_{service}" for service in OWNERS}

    def deployment(self, kind: type[Deployment] = Deployment) -> Deployment:
        url = nats_url(self.nats_server, "admin")
        return kind(self.database.uri, url, self.topology, self.databases)

    @contextlib.contextmanager
    def root(self) -> Iterator[MongoClient[Any]]:
        with MongoClient[Any](self.database.uri, tz_aware=True) as client:
            yield client

    @contextlib.asynccontextmanager
    async def administrator(self) -> AsyncIterator[Client]:
        client = await nats.connect(nats_url(self.nats_server, "admin"))
        yield client
        await client.close()

    def _settings(self, service: str, **more: Any) -> dict[str, Any]:
        own = TestDatabase(self.database.uri, self.databases[service])
        return environment_of(own, self.nats_server, self.prefix, service, **more)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Callings]:
        tenant, flags = TenantSettings(**self._settings("tenant")), FlagsSettings(**self._settings("flags"))
        audit = AuditSettings(**self._settings("audit", **AUDIT_KEYS))
        async with (
            LiveServer(build_tenant(tenant), tenant.port) as one,
            LiveServer(build_flags(flags), flags.port) as two,
            LiveServer(build_audit(audit), audit.port) as three,
            httpx.AsyncClient(timeout=20) as http,
        ):
            calls = Callings(http, {"tenant": one.url, "flags": two.url, "audit": three.url})
            await eventually(calls.ready)
            yield calls

    async def settled(self) -> None:
        """Wait until all that was done is told and chained."""

        async def chained() -> bool:
            committed, logged = self.committed(), self.logged()
            assert len(logged) == len(set(logged))
            with self.root() as root:
                pending = sum(
                    root[database]["outbox"].count_documents({"pending": True}) for database in self.databases.values()
                )
            return not pending and committed <= set(logged)

        await eventually(chained, seconds=30)

    def committed(self) -> set[str]:
        """Every event that is in an outbox."""
        with self.root() as root:
            return {
                row["_id"]
                for database in self.databases.values()
                for row in root[database]["outbox"].find({}, {"_id": 1})
            }

    def logged(self) -> list[str]:
        """The events that have an entry in the log."""
        with self.root() as root:
            entries = root[self.databases["audit"]]["entries"]
            return [row["id"] for row in entries.find({}, {"id": 1})]

    def collections_with(self, needles: list[bytes]) -> set[str]:
        """The collections that hold one of the needles in the bytes that are stored."""
        found = set()
        with MongoClient[RawBSONDocument](self.database.uri, document_class=RawBSONDocument) as root:
            for service, database in self.databases.items():
                for name in root[database].list_collection_names():
                    if any(needle in row.raw.lower() for row in root[database][name].find() for needle in needles):
                        found.add(f"{service}.{name}")
        return found

    def present(self) -> list[str]:
        """The databases that have a collection."""
        with self.root() as root:
            return [name for name in self.databases.values() if root[name].list_collection_names()]

    async def wipe(self) -> None:
        """Lose both servers' data."""
        with self.root() as root:
            for database in self.databases.values():
                root.drop_database(database)
        async with self.administrator() as admin:
            for stream in await self._streams(admin):
                await admin.jetstream().delete_stream(stream)

    async def streams(self) -> list[str]:
        async with self.administrator() as admin:
            return await self._streams(admin)

    async def bootstrap(self) -> None:
        """What the runner and the bootstrap job do for NATS: make what is missing."""
        async with self.administrator() as admin:
            await ensure(admin, self.topology)

    async def _streams(self, admin: Client) -> list[str]:
        found = await admin.jetstream().streams_info()
        names = [str(about.config.name) for about in found]
        return [name for name in names if name.removeprefix("KV_").startswith(f"{self.prefix}-")]


@dataclass
class Callings:
    """What clients do."""

    http: httpx.AsyncClient
    urls: dict[str, str]

    async def ready(self) -> bool:
        answers = [await self.http.get(f"{url}/readyz") for url in self.urls.values()]
        return all(answer.status_code == 200 for answer in answers)

    async def call(
        self, service: str, verb: str, path: str, caller: Person | None = None, body: Any = None, **headers: str
    ) -> httpx.Response:
        signed = Callers(service).headers(caller or operator(), **headers)
        return await self.http.request(verb, f"{self.urls[service]}{path}", json=body, headers=signed)

    async def invite(self, name: str, **more: Any) -> str:
        """Invite an operator and return who it is, once the service has acknowledged it."""
        body = {"email": f"{name}@backup.example", "name": name.title(), **more}
        answer = await self.call("tenant", "POST", "/api/users/invite", body=body)
        assert answer.status_code in {201, 202}, answer.text  # nobody is there to make an account
        return str(answer.json()["userId"])


class Writers:
    """Clients who invite one person after the other; `acknowledged` are those who were answered."""

    def __init__(self, calls: Callings, count: int) -> None:
        self.acknowledged: list[str] = []
        self._calls = calls
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(count)]

    async def _write(self, number: int) -> None:
        made = 0
        while True:
            made += 1
            self.acknowledged.append(await self._calls.invite(f"writer-{number}-{made}"))

    async def more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count

        async def enough() -> bool:
            assert not [task for task in self._tasks if task.done()]
            return len(self.acknowledged) >= wanted

        await eventually(enough)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
