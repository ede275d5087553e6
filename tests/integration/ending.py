"""The partner service and the tenant service side by side, each with a database of its own, joined by NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from services.partner.main import build as build_partner
from services.partner.settings import PartnerSettings
from services.tenant.main import build as build_tenant
from services.tenant.settings import TenantSettings
from shared.mongo import Mongo
from shared.testing import Callers, operator, partner_person
from tests.partner.examples import NORDIC
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

AT_PARTNER, AT_TENANT = Callers("partner"), Callers("tenant")
PRICE = {"plan": "business", "cycle": "month", "currencies": ["EUR"], "archived": False, "version": 1}


@dataclass
class Two:
    """Both services. ``tenants`` is the database of the tenant service, ``partners`` that of the partner service."""

    environment: Any
    partners: Mongo
    tenants: Mongo
    http: httpx.AsyncClient

    @asynccontextmanager
    async def tenant_service(self) -> AsyncIterator[httpx.AsyncClient]:
        """Run the tenant service for a while."""
        database = str(self.tenants.db.name)
        settings = TenantSettings(**self.environment("tenant", mongo_database=database))
        async with serving(build_tenant(settings), settings.port) as http:
            yield http

    async def create_partners(self, *slugs: str) -> None:
        for slug in slugs:
            body = {**NORDIC, "slug": slug, "domain": None}
            made = await self.http.post("/api/partners", json=body, headers=AT_PARTNER.headers(operator()))
            assert made.status_code == 201, made.text

    async def known(self, *slugs: str) -> None:
        """Wait until the tenant service has heard of these partners."""
        only = {"_id": {"$in": slugs}, "status": "active"}
        await eventually(lambda: _reached(self.tenants.db["partners"].count_documents(only), len(slugs)))

    async def create_tenants(self, http: httpx.AsyncClient, partner: str, *slugs: str) -> None:
        headers = AT_TENANT.headers(partner_person(partner))
        for slug in slugs:
            body = {"slug": slug, "name": slug.title(), "plan": "business", "seats": 5}
            made = await http.post("/api/tenants", json=body, headers=headers)
            assert made.status_code == 201, made.text

    async def terminate(self, slug: str, to: str | None = None, **headers: str) -> httpx.Response:
        body = {} if to is None else {"transferTo": to}
        path = f"/api/partners/{slug}/terminate"
        return await self.http.post(path, json=body, headers=AT_PARTNER.headers(operator(), **headers))

    async def partner(self, slug: str) -> dict[str, Any]:
        read = await self.http.get(f"/api/partners/{slug}", headers=AT_PARTNER.headers(operator()))
        shown: dict[str, Any] = read.json()
        return shown

    async def owners(self) -> dict[str, str | None]:
        rows = self.tenants.db["tenants"].find().sort("slug", 1)
        return {row["slug"]: row["partner"] async for row in rows}

    async def told(self, where: Mongo, kind: str) -> list[dict[str, Any]]:
        rows = where.db["outbox"].find({"type": kind}).sort("_id", 1)
        return [row["envelope"]["data"] async for row in rows]


async def _reached(number: Any, wanted: int) -> bool:
    return bool(await number == wanted)


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with LiveServer(app, port) as server, httpx.AsyncClient(base_url=server.url, timeout=30) as http:

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
        yield http


@asynccontextmanager
async def two_services(environment: Any, partners: Mongo, uri: str, *, wait: float = 5.0) -> AsyncIterator[Two]:
    """Run the partner service; the tenant service is run by who needs it. ``wait`` is the patience of a request."""
    tenants = Mongo(uri, f"{partners.db.name}t", "tests")
    await tenants.db["prices"].insert_one({"_id": "p1", **PRICE})
    settings = PartnerSettings(**environment("partner", termination_wait_seconds=wait))
    try:
        async with serving(build_partner(settings), settings.port) as http:
            yield Two(environment, partners, tenants, http)
    finally:
        await tenants.client.drop_database(tenants.db.name)
        await tenants.close()


async def together(*calls: Any) -> list[Any]:
    """Run calls at the same time and return what each returned or raised."""
    return list(await asyncio.gather(*calls, return_exceptions=True))
