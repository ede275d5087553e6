"""The tenant service over a socket, without integrations, and tenants that are put into its database in any state."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest_asyncio

from infrastructure.local.servers.mongod import MongodServer
from infrastructure.local.servers.nats import NatsServer
from services.tenant.main import build
from services.tenant.settings import TenantSettings
from shared.auth import Person
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person
from shared.topology import Topology
from tests.support.servers import LiveServer, TestDatabase, environment_of, topology_on
from tests.support.waiting import eventually
from tests.tenant.people import ready

CALLERS = Callers("tenant")
PARTNERS = ("nordic", "fjord", "glacier")
THEN = datetime(2026, 1, 5, 12, tzinfo=UTC)
STATES = ("pending", "active", "suspended", "deleting", "erasing", "deleted")
Row = dict[str, Any]


def deletion_of(state: str, restores_to: str = "active") -> Row | None:
    if state not in {"deleting", "erasing", "deleted"}:
        return None
    return {
        "requested_at": THEN,
        "reason": "left",
        "erase_after": THEN if state != "deleting" else datetime.now(UTC) + timedelta(days=9),
        "restores_to": restores_to,
        "erasing_since": None if state == "deleting" else THEN,
        "erased_at": THEN if state == "deleted" else None,
    }


@dataclass
class Desk:
    """``put`` writes rows as a service of any time before may have left them."""

    http: httpx.AsyncClient
    mongo: Mongo
    topology: Topology
    environment: dict[str, Any]
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    async def open(self) -> None:
        for slug in PARTNERS:
            await self.partner(slug)
        for plan, cycle in itertools.product(("business", "enterprise"), ("month", "year")):
            sold = {"plan": plan, "cycle": cycle, "currencies": ["EUR"], "archived": False, "version": 1}
            await self.mongo.db["prices"].insert_one({"_id": f"{plan}-{cycle}", **sold})

    async def partner(self, slug: str, status: str = "active") -> Person:
        """Store a partner; return one of its staff."""
        known = {"slug": slug, "name": slug.title(), "status": status, "version": 1}
        await self.mongo.db["partners"].insert_one({"_id": slug, **known})
        return partner_person(slug)

    def row(self, state: str = "active", partner: str | None = "nordic", **changes: Any) -> Row:
        slug = changes.pop("slug", f"t-{next(self._names)}")
        restores_to = changes.pop("restores_to", "active")
        row: Row = {
            "_id": f"id-of-{slug}",
            "slug": slug,
            "name": "Acme",
            "plan": "business",
            "cycle": "month",
            "currency": "EUR",
            "seats": 10,
            "partner": partner,
            "status": "deleting" if state == "erasing" else state,
            "created_at": THEN,
            "updated_at": THEN,
            "version": 7,
            "domains": [{"name": f"{slug}.example", "primary": True}],
            "billing": {"contact": None, "company": None, "address": None},
            "suspended_reason": "unpaid" if state == "suspended" else None,
            "ownership": [{"partner": "nordic", "since": THEN, "until": None if partner else THEN}],
            "detached_until": None if partner else datetime.now(UTC) + timedelta(days=5),
            "deletion": deletion_of(state, restores_to),
            "words": ["acme", slug],
            **changes,
        }
        if state == "deleted":
            del row["domains"]
        return row

    async def put(self, state: str = "active", partner: str | None = "nordic", **changes: Any) -> str:
        """Store a tenant; return its slug."""
        row = self.row(state, partner, **changes)
        await self.mongo.db["tenants"].insert_one(row)
        return str(row["slug"])

    async def ask(self, tenant: str, to_partner: str = "glacier", **changes: Any) -> str:
        """Store an open request for a tenant; return its id."""
        now = datetime.now(UTC)
        asked = {"tenant": tenant, "to_partner": to_partner, "status": "open", "version": 1, "closed_at": None}
        row = {**asked, "_id": f"ask-{next(self._names)}", "opened_at": now, "expires_at": now + timedelta(days=9)}
        row.update(changes)
        await self.mongo.db["transfers"].insert_one(row)
        return str(row["_id"])

    async def stored(self, slug: str) -> Row:
        row = await self.mongo.db["tenants"].find_one({"slug": slug})
        assert row is not None
        return row

    async def told(self, aggregate: str) -> list[Row]:
        """Return the events about something, by version."""
        rows = self.mongo.db["outbox"].find({"aggregate": aggregate}).sort([("version", 1), ("_id", 1)])
        return [row["envelope"] async for row in rows]

    async def call(
        self, method: str, path: str, body: Any = None, caller: Person | None = None, **headers: str
    ) -> httpx.Response:
        """Send a request, as an operator unless said otherwise."""
        more: dict[str, Any] = {} if body is None else {"json": body}
        signed = CALLERS.headers(caller or operator(), **headers)
        return await self.http.request(method, path, headers=signed, **more)


def state_of(row: Row) -> str:
    """Return the state of a stored tenant, in the words of docs/tenant-lifecycle.md."""
    if row["status"] == "deleting" and row["deletion"]["erasing_since"] is not None:
        return "erasing"
    return str(row["status"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(mongod: MongodServer, nats_server: NatsServer) -> AsyncIterator[Desk]:
    """One desk for a module, because starting one takes longer than most tests; each test has tenants of its own.

    A test that uses it runs in the module's loop: ``pytest.mark.asyncio(loop_scope="module")``.
    """
    database = TestDatabase(mongod.uri, f"t{secrets.token_hex(6)}")
    mongo = Mongo(database.uri, database.name, "tests")
    async with topology_on(nats_server) as topology:
        prefix = topology.stream_events.removesuffix("-EVENTS")
        environment = environment_of(database, nats_server, prefix, "tenant")
        async with serving(environment) as http:
            made = Desk(http, mongo, topology, environment)
            await made.open()
            yield made
    await mongo.client.drop_database(database.name)
    await mongo.close()


@contextlib.asynccontextmanager
async def serving(environment: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a tenant service with these settings."""
    settings = TenantSettings(**environment)
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http,
    ):
        await eventually(lambda: ready(http))
        yield http
