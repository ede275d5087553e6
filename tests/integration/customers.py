"""Three services and their databases: tenants and subscriptions at their owners, and what the partner service keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from services.billing.main import build as build_billing
from services.billing.settings import BillingSettings
from services.partner.customers.repository import CustomerRepository
from services.partner.main import NAME, derivation_of, projections_of
from services.partner.main import build as build_partner
from services.partner.settings import PartnerSettings
from services.partner.standings.repository import StandingRepository
from services.partner.standings.service import Standings
from services.tenant.main import build as build_tenant
from services.tenant.settings import TenantSettings
from services.tenant.usage.models import Usage, changed
from shared.actors import system
from shared.app import Platform
from shared.clock import SystemClock
from shared.contracts.envelope import Resource
from shared.contracts.tenant import ConditionState, ProvisioningChanges, ProvisioningState, TenantProvisioningChanged
from shared.mongo import Document, Mongo
from shared.outbox import Outbox
from shared.projections.keeper import Keeper
from shared.testing import Callers, operator, partner_person
from tests.integration.owners import SOON, ready
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

CALLERS = {name: Callers(name) for name in ("tenant", "billing", "partner")}
STAFF = partner_person("nordic", "staff")
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
CONTRACT = {"startsOn": "2026-01-01", "termMonths": 36, "margins": [{"since": "2026-01-01", "marginBps": 2_000}]}
REPORTS = ("health", "revenue-by-plan", "top-customers", "cohorts")
PARTS = {"customers": "tenant", "usage": "usage", "provisioning": "provisioning", "subscriptions": "subscription"}
"""What the standing of a customer calls the row of each projection."""


@dataclass
class Customers:
    """The partner nordic, its customers at their owners, and the partner service."""

    http: httpx.AsyncClient
    urls: dict[str, str]
    mongos: dict[str, Mongo]
    settings: PartnerSettings
    keeper: Keeper

    @property
    def mongo(self) -> Mongo:
        return self.mongos["partner"]

    async def ask(self, service: str, caller: Any, method: str, path: str, body: Any = None) -> Any:
        headers = CALLERS[service].headers(caller)
        answer = await self.http.request(method, f"{self.urls[service]}{path}", json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def begin(self) -> None:
        """Let nordic sell the plan business at ten euros a seat and month."""
        new = {"slug": "nordic", "name": "Nordic", "contract": CONTRACT}
        await self.ask("partner", operator(), "POST", "/api/partners", new)
        price = {"plan": "business", "cycle": "month", "amounts": {"EUR": 1000}}
        await self.ask("billing", operator(), "POST", "/api/prices", price)
        tenants = self.mongos["tenant"].db

        async def heard() -> bool:
            return bool(await tenants["partners"].find_one() and await tenants["prices"].find_one())

        await eventually(heard)

    async def create(self, slug: str, seats: int = 10) -> None:
        body = {"slug": slug, "name": slug.title(), "plan": "business", "seats": seats}
        await self.ask("tenant", STAFF, "POST", "/api/tenants", body)

    async def give_seats(self, slug: str, seats: int) -> None:
        await self.ask("tenant", STAFF, "PATCH", f"/api/tenants/{slug}", {"seats": seats})

    async def suspend(self, slug: str) -> None:
        await self.ask("tenant", operator(), "POST", f"/api/tenants/{slug}/suspend", {"reason": "test"})

    async def use(self, slug: str, seats_used: int) -> None:
        """Let people of a tenant hold seats, as the tenant service records and tells it."""
        mongo = self.mongos["tenant"]
        tenant = await mongo.db["tenants"].find_one({"slug": slug})
        assert tenant is not None

        async def body(tx: Any) -> None:
            row = await mongo.db["usage"].find_one({"_id": slug}, {"_id": 0}, session=tx)
            before = Usage(**row) if row else Usage(tenant["_id"], slug, "nordic")
            after = before.seen(seats_used, None)
            values = {name: getattr(after, name) for name in Usage.__slots__}
            await mongo.db["usage"].replace_one({"_id": slug}, values, upsert=True, session=tx)
            await Outbox(mongo, "tenant", SystemClock()).add(tx, changed(system("test"), before, after))

        await mongo.transactions.run(body)

    async def fail(self, slug: str) -> None:
        """Let an integration not agree with a tenant, as the tenant service records and tells it."""
        mongo = self.mongos["tenant"]
        tenant = await mongo.db["tenants"].find_one({"slug": slug})
        assert tenant is not None
        condition = {"status": "failed", "reason": "Denied", "message": "no", "at": SINCE, "observed_generation": 1}
        told = ConditionState.model_validate(condition)
        state = ProvisioningState(tenant_id=tenant["_id"], slug=slug, conditions={"ocis": told}, version=1)
        event = TenantProvisioningChanged(
            actor=system("test"),
            outcome="failure",
            resource=Resource(type="provisioning", id=slug, tenant_slug=slug, partner_slug="nordic"),
            version=1,
            integration="ocis",
            state=state,
            changes=ProvisioningChanges(),
        )

        async def body(tx: Any) -> None:
            row = {"_id": tenant["_id"], "slug": slug, "version": 1, "conditions": {"ocis": condition}}
            await mongo.db["provisioning"].insert_one(row, session=tx)
            await Outbox(mongo, "tenant", SystemClock()).add(tx, event)

        await mongo.transactions.run(body)

    async def reports(self) -> dict[str, Any]:
        """Return the figures of every report, without the time of the newest event in them."""
        found = {
            name: await self.ask("partner", STAFF, "GET", f"/api/partners/nordic/reports/{name}") for name in REPORTS
        }
        return {name: {key: value for key, value in report.items() if key != "asOf"} for name, report in found.items()}

    async def owned(self) -> dict[str, Any]:
        """Return, by tenant, what the owners' rows say: status and seats, seats used, unready, revenue."""
        tenants = {row["_id"]: row async for row in self.mongos["tenant"].db["tenants"].find()}
        usage = {row["tenant_id"]: row async for row in self.mongos["tenant"].db["usage"].find()}
        rows = {row["_id"]: row async for row in self.mongos["tenant"].db["provisioning"].find()}
        sold = {row["tenant_id"]: row async for row in self.mongos["billing"].db["subscriptions"].find()}
        return {
            tenant["slug"]: (
                (tenant["status"], tenant["seats"]),
                usage[key]["seats_used"] if key in usage else None,
                key in rows,
                (sold[key]["arr"], sold[key]["status"]) if key in sold else None,
            )
            for key, tenant in tenants.items()
        }

    async def standing(self) -> dict[str, Any]:
        """Return the same as this service's standings say it."""
        rows = [row async for row in self.mongo.db["standings"].find({"tenant": {"$ne": None}})]
        return {
            row["tenant"]["slug"]: (
                (row["tenant"]["status"], row["tenant"]["seats"]),
                _of(row["usage"], "seats_used"),
                _of(row["provisioning"], "unready_since") is not None,
                row["subscription"] and (row["subscription"]["arr"], row["subscription"]["status"]),
            )
            for row in rows
        }

    async def agreed(self, seconds: float = 15) -> None:
        """Return once the standings say what the owners' rows say."""

        async def agrees() -> bool:
            standing, owned = await self.standing(), await self.owned()
            assert standing == owned
            return True

        await eventually(agrees, seconds=seconds)

    async def current(self, name: str) -> Any:
        generations = self.keeper.projections[name]
        return generations.collection((await generations.pointer()).current)

    async def id_of(self, slug: str) -> str:
        row: Document | None = await self.mongos["tenant"].db["tenants"].find_one({"slug": slug})
        assert row is not None
        return str(row["_id"])


def _of(row: Document | None, name: str) -> Any:
    return None if row is None else row[name]


@asynccontextmanager
async def customers_of(environment: Any, mongo: Mongo, mongos: dict[str, Mongo]) -> AsyncIterator[Customers]:
    """Run the three services; only this test says when something is compared."""
    tenant = TenantSettings(**environment("tenant", mongo_database=mongos["tenant"].db.name))
    billing = BillingSettings(**environment("billing", mongo_database=mongos["billing"].db.name))
    urls = {name: f"http://127.0.0.1:{each.port}" for name, each in (("tenant", tenant), ("billing", billing))}
    partner = PartnerSettings(**environment("partner", owners=urls))
    alone = build_partner(partner.model_copy(update={"owners": {}}))
    own = _keeper(partner)
    own.platform.bus.start()
    async with (
        LiveServer(build_tenant(tenant), tenant.port) as first,
        LiveServer(build_billing(billing), billing.port) as second,
        LiveServer(alone, partner.port) as third,
        httpx.AsyncClient(timeout=30) as http,
    ):
        await own.platform.bus.wait_connected()
        await _all_ready((first, second, third))
        world = Customers(http, {**urls, "partner": third.url}, {**mongos, "partner": mongo}, partner, own)
        await world.begin()
        yield world
    for close in (own.close, own.platform.bus.close, own.platform.mongo.close):
        await close()


def _keeper(settings: PartnerSettings) -> Keeper:
    platform = Platform.build(NAME, settings)
    projections = projections_of(platform.mongo, CustomerRepository(platform.mongo))
    kept = Standings(projections, StandingRepository(platform.mongo), platform.clock)
    return Keeper(platform, settings, projections.generations, [derivation_of(projections, kept)], settle=SOON)


async def _all_ready(servers: Iterable[LiveServer]) -> None:
    for server in servers:
        await eventually(lambda url=server.url: ready(url))
