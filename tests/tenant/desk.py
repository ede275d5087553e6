"""The tenant service over a socket, without integrations, and tenants that are put into its database in any state."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.tenant.main import build
from services.tenant.settings import TenantSettings
from shared.auth import Person
from shared.mongo import Mongo
from shared.testing import Callers, operator
from tests.support.servers import LiveServer
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
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    async def open(self) -> None:
        for slug in PARTNERS:
            known = {"slug": slug, "name": slug.title(), "status": "active", "version": 1}
            await self.mongo.db["partners"].insert_one({"_id": slug, **known})
        for plan, cycle in itertools.product(("business", "enterprise"), ("month", "year")):
            sold = {"plan": plan, "cycle": cycle, "currencies": ["EUR"], "archived": False, "version": 1}
            await self.mongo.db["prices"].insert_one({"_id": f"{plan}-{cycle}", **sold})

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


@pytest.fixture
async def desk(service_environment: Any, mongo: Mongo) -> AsyncIterator[Desk]:
    async with running(service_environment("tenant"), mongo) as made:
        yield made


@contextlib.asynccontextmanager
async def running(environment: dict[str, Any], mongo: Mongo) -> AsyncIterator[Desk]:
    settings = TenantSettings(**environment)
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as http,
    ):
        await eventually(lambda: ready(http))
        made = Desk(http, mongo)
        await made.open()
        yield made
