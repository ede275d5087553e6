"""Two services and their databases: tenants at their owner, and what the flags service keeps of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from services.flags.main import NAME
from services.flags.main import build as build_flags
from services.flags.repository import TenantProjection
from services.flags.settings import FlagsSettings
from services.tenant.main import build as build_tenant
from services.tenant.settings import TenantSettings
from shared.app import Platform
from shared.clock import Clock
from shared.ids import new_id
from shared.leases import Lease
from shared.mongo import Document, Mongo
from shared.projections.generations import Generations
from shared.projections.keeper import Keeper
from shared.projections.rebuild import Rebuild
from shared.projections.snapshots import Owner, SnapshotPage
from shared.settings import ServiceSettings
from shared.testing import Callers, operator, partner_person
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

TENANT = Callers("tenant")
SOON = timedelta(milliseconds=10)


def silent(_: str) -> None:
    """Say nothing."""


class Book(Owner):
    """An owner whose snapshot a test writes."""

    def __init__(self, *states: Any) -> None:
        self.name = "book"
        self.states = list(states)

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        yield SnapshotPage(list(self.states), None)


@dataclass
class World:
    """The tenant service, which owns, and the flags service, which follows."""

    owner: LiveServer
    flags: LiveServer
    owners_mongo: Mongo
    mongo: Mongo
    settings: FlagsSettings
    tenant_settings: TenantSettings
    said: list[str] = field(default_factory=list)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tenants = TenantProjection(self.mongo)
        self.platform = Platform.build(NAME, self.settings)

    @property
    def generations(self) -> Generations[Any]:
        return self.tenants.generations

    def owner_again(self) -> LiveServer:
        """Return the owner as it starts again at its address."""
        return LiveServer(build_tenant(self.tenant_settings), self.tenant_settings.port)

    def keeper(self, clock: Clock | None = None, **more: Any) -> Keeper:
        platform = self.platform if clock is None else replace(self.platform, clock=clock)
        keeper = Keeper(platform, self.settings, [TenantProjection(platform.mongo).generations], settle=SOON, **more)
        self.closing.append(keeper.close)
        return keeper

    def from_owner(self, **more: Any) -> Owner:
        owner = Owner("tenant", self.owner.url, self.platform.issuer, **more)
        self.closing.append(owner.close)
        return owner

    def rebuild(
        self,
        holder: str = "tests",
        owner: Owner | None = None,
        generations: Any = None,
        ttl: timedelta = timedelta(seconds=10),
        **more: Any,
    ) -> Rebuild[Any]:
        lease = Lease(self.mongo.db, "rebuild-tenants", holder, ttl)
        return Rebuild(generations or self.generations, owner or self.from_owner(), lease, self.said.append, **more)

    async def create(self, slug: str) -> None:
        body = {"slug": slug, "name": slug.title(), "plan": "business", "seats": 5}
        headers = TENANT.headers(partner_person("nordic"))
        async with httpx.AsyncClient(base_url=self.owner.url, timeout=30) as http:
            answer = await http.post("/api/tenants", json=body, headers=headers)
        assert answer.status_code == 201, answer.text

    async def suspend(self, slug: str) -> None:
        async with httpx.AsyncClient(base_url=self.owner.url, timeout=30) as http:
            path = f"/api/tenants/{slug}/suspend"
            answer = await http.post(path, json={"reason": "test"}, headers=TENANT.headers(operator()))
        assert answer.status_code == 200, answer.text

    async def fill_owner(self, count: int) -> None:
        """Let the owner have ``count`` more tenants that no event has told of."""
        await self.create("first")
        one = await self.owners_mongo.db["tenants"].find_one({"slug": "first"}, {"skeleton": 0})
        assert one is not None
        rows = [{**one, "_id": new_id(), "slug": f"t{number:04}"} for number in range(count)]
        await self.owners_mongo.db["tenants"].insert_many(rows)

    async def expected(self) -> list[Document]:
        """Return the projection as the owner's own rows say it must be, by slug."""
        rows = self.owners_mongo.db["tenants"].find().sort("slug", 1)
        return [
            {
                "_id": row["slug"],
                "tenant_id": row["_id"],
                "plan": row["plan"],
                "partner": row["partner"],
                "deleted": row["status"] == "deleted",
                "version": row["version"],
            }
            async for row in rows
        ]

    async def rows(self, generation: int) -> list[Document]:
        return [row async for row in self.generations.collection(generation).find().sort("_id", 1)]

    async def agreed(self) -> None:
        """Return once the projection agrees with its owner."""
        await eventually(self.agrees)

    async def agrees(self) -> bool:
        current = (await self.generations.pointer()).current
        return await self.rows(current) == await self.expected()


@asynccontextmanager
async def running(environment: Any, mongo: Mongo, owners_mongo: Mongo) -> AsyncIterator[World]:
    """Run both services; the partner nordic may create tenants of the plan business."""
    tenant = TenantSettings(**environment("tenant", mongo_database=owners_mongo.db.name))
    url = f"http://127.0.0.1:{tenant.port}"
    flags = FlagsSettings(**environment("flags", owners={"tenant": url}))
    # Without an owner it compares nothing by itself: tests say when.
    alone = build_flags(flags.model_copy(update={"owners": {}}))
    async with LiveServer(build_tenant(tenant), tenant.port) as owner, LiveServer(alone, flags.port) as own:
        for server in (owner, own):
            await eventually(lambda url=server.url: ready(url))
        sold = {"plan": "business", "cycle": "month", "currencies": ["EUR"], "archived": False, "version": 1}
        await owners_mongo.db["prices"].insert_one({"_id": "business-month", **sold})
        await owners_mongo.db["partners"].insert_one(
            {"_id": "nordic", "slug": "nordic", "status": "active", "version": 1}
        )
        world = World(owner, own, owners_mongo, mongo, flags, tenant)
        world.platform.bus.start()
        await world.platform.bus.wait_connected()
        yield world
        for close in (*world.closing, world.platform.bus.close, world.platform.mongo.close):
            await close()


async def ready(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url) as http:
        return (await http.get("/readyz")).status_code == 200


def environment_of(prefix: str, settings: ServiceSettings) -> dict[str, str]:
    """Return settings as a service finds them when it starts."""
    alone = {"internal_public_keys": "INTERNAL_PUBLIC_KEYS", "nats_prefix": "NATS_PREFIX"}
    found = {}
    for name, value in settings.model_dump(mode="json").items():
        given = getattr(settings, name)
        text = given.get_secret_value() if isinstance(given, SecretStr) else value
        found[alone.get(name, f"{prefix}_{name.upper()}")] = json.dumps(text) if isinstance(text, dict) else str(text)
    return found
