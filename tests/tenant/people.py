"""The tenant service over a socket, with a stand-in identity provider as a process of its own, and people in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from services.tenant.main import build
from services.tenant.models import Tenant
from services.tenant.people.models import Human, Identity
from services.tenant.people.repository import PeopleRepository
from services.tenant.repository import TenantRepository
from services.tenant.settings import TenantSettings
from shared.auth import PartnerRole, Person, ServicePrincipal
from shared.clock import SystemClock
from shared.contracts.user import PartnerRoleState
from shared.ids import new_id
from shared.mongo import Mongo, Transaction
from shared.testing import Callers, operator, person
from tests.sandbox.authentik.process import ROOT, SEED, StandIn
from tests.support.servers import LiveServer
from tests.support.waiting import eventually

CALLERS = Callers("tenant")
ADMIN_API = {"authorization": f"Bearer {SEED['apiToken']}"}


@pytest.fixture(scope="module")
def authentik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One instance per module; tests use addresses of their own."""
    instance = StandIn(tmp_path_factory.mktemp("authentik"))
    instance.start()
    yield instance
    instance.stop()
    instance.http.close()


@dataclass
class House:
    """A tenant service, its database and its identity provider. ``domain`` is this test's own."""

    http: httpx.AsyncClient
    mongo: Mongo
    authentik: StandIn
    domain: str

    def address(self, name: str) -> str:
        return f"{name}@{self.domain}"

    async def invite(self, path: str, caller: Person, name: str, **more: Any) -> httpx.Response:
        headers = CALLERS.headers(caller, **more.pop("headers", {}))
        body = {"email": self.address(name), "name": name.title(), **more}
        return await self.http.post(path, json=body, headers=headers)

    async def listed(self, path: str, caller: Person | None = None) -> list[dict[str, Any]]:
        reply = await self.http.get(path, headers=CALLERS.headers(caller or operator()))
        assert reply.status_code == 200, reply.text
        items: list[dict[str, Any]] = reply.json()["items"]
        return items

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        rows = self.mongo.db["outbox"].find({"type": event_type}).sort("_id", 1)
        return [row["envelope"]["data"] async for row in rows]

    async def partner(self, slug: str, status: str = "active") -> None:
        row = {"_id": slug, "slug": slug, "name": slug.title(), "status": status, "version": 1}
        await self.mongo.db["partners"].insert_one(row)

    async def tenant(self, slug: str, partner: str = "nordic", seats: int = 10) -> None:
        if await self.mongo.db["partners"].find_one({"_id": partner}) is None:
            await self.partner(partner)
        now = SystemClock().now()
        tenant = Tenant(
            id=new_id(),
            slug=slug,
            name=slug.title(),
            plan="business",
            cycle="month",
            currency="EUR",
            seats=seats,
            partner=partner,
            status="active",
            created_at=now,
            updated_at=now,
        )

        async def body(tx: Transaction) -> None:
            await TenantRepository(self.mongo).insert(tenant, tx)

        await self.mongo.transactions.run(body)

    async def human(self, name: str, /, **changes: Any) -> Human:
        """Store somebody who is known already; ``name`` is the local part of the address."""
        human = Human(
            id=new_id(),
            email=self.address(name),
            name=name.title(),
            identities=(Identity("authentik", secrets.token_hex(32)),),
            created_at=SystemClock().now(),
        )
        made = replace(human, **changes)

        async def body(tx: Transaction) -> None:
            await PeopleRepository(self.mongo).insert(made, tx)

        await self.mongo.transactions.run(body)
        return made

    async def stored(self, person_id: str) -> dict[str, Any]:
        row = await self.mongo.db["people"].find_one({"_id": person_id})
        assert row is not None
        return row

    async def sign_in(self, subject: str, name: str, *groups: str) -> dict[str, Any]:
        """What the gateway is answered for a verified token of this subject."""
        question = {
            "identityProvider": "authentik",
            "subject": subject,
            "email": self.address(name),
            "name": name.title(),
            "groups": list(groups),
            "surface": "portal",
            "clientIp": "198.51.100.9",
        }
        gateway = CALLERS.headers(ServicePrincipal(name="gateway"))
        reply = await self.http.post("/internal/principals", json=question, headers=gateway)
        assert reply.status_code == 200, reply.text
        person: dict[str, Any] = reply.json()
        return person

    async def call(
        self, verb: str, path: str, caller: Person | None = None, body: Any = None, **headers: str
    ) -> httpx.Response:
        return await self.http.request(verb, path, json=body, headers=CALLERS.headers(caller or operator(), **headers))

    async def seats(self, tenant: str) -> tuple[int | None, int]:
        """What is told of a tenant's seats, and how many people really hold one."""
        told = await self.mongo.db["usage"].find_one({"_id": tenant})
        holding = {"tenant_slugs": tenant, "status": {"$in": ["inviting", "invited", "active"]}}
        return told and told["seats_used"], await self.mongo.db["people"].count_documents(holding)

    # -- the identity provider, by raw HTTP

    def accounts(self, name: str) -> list[dict[str, Any]]:
        """Whoever has this address there, whatever their user name."""
        query = {"email": self.address(name)}
        reply = self.authentik.http.get("/api/v3/core/users/", params=query, headers=ADMIN_API)
        assert reply.status_code == 200, reply.text
        users: list[dict[str, Any]] = reply.json()["results"]
        return users

    def account(self, name: str) -> dict[str, Any]:
        (account,) = self.accounts(name)
        return account

    def make_account(self, name: str, **fields: Any) -> dict[str, Any]:
        address = self.address(name)
        body = {"username": address, "name": name, "email": address, **fields}
        reply = self.authentik.http.post("/api/v3/core/users/", json=body, headers=ADMIN_API)
        assert reply.status_code == 201, reply.text
        user: dict[str, Any] = reply.json()
        return user

    def groups_of(self, name: str) -> list[str]:
        return sorted(group["name"] for group in self.account(name)["groups_obj"])

    def fault(self, **rule: Any) -> None:
        assert self.authentik.http.post("/_sandbox/faults", json=rule).status_code == 201

    def heal(self) -> None:
        assert self.authentik.http.delete("/_sandbox/faults").status_code == 204


@pytest.fixture
async def house(service_environment: Any, mongo: Mongo, authentik: StandIn) -> AsyncIterator[House]:
    environment = service_environment("tenant", **provider(authentik))
    async with running(environment, mongo, authentik) as made:
        yield made
    assert authentik.http.delete("/_sandbox/faults").status_code == 204


def provider(authentik: StandIn) -> dict[str, str]:
    """The settings that name the identity provider."""
    return {"authentik_url": authentik.url, "authentik_token": SEED["apiToken"]}


@contextlib.asynccontextmanager
async def running(environment: dict[str, Any], mongo: Mongo, authentik: StandIn) -> AsyncIterator[House]:
    settings = TenantSettings(**environment)
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as http,
    ):
        made = House(http, mongo, authentik, f"d{secrets.token_hex(4)}.example")
        await eventually(lambda: ready(http))
        yield made


@contextlib.asynccontextmanager
async def process(environment: dict[str, Any]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The tenant service as a process of its own, and its URL; killed at the end."""
    common = {"internal_public_keys": "INTERNAL_PUBLIC_KEYS", "nats_prefix": "NATS_PREFIX"}
    common["environment"] = "DEZKY_ENVIRONMENT"
    variables = {
        common.get(name, f"TENANT_{name.upper()}"): json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in environment.items()
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.tenant", env={**os.environ, **variables}, cwd=ROOT
    )
    try:
        yield child, f"http://127.0.0.1:{environment['port']}"
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def owner_of(slug: str) -> PartnerRoleState:
    return PartnerRoleState(slug=slug, role="owner")


def caller_for(human: Human) -> Person:
    """The person as the gateway would present them on the portal."""
    partner = human.partner and PartnerRole(slug=human.partner.slug, role=human.partner.role)
    return person(id=human.id, email=human.email, name=human.name, partner=partner, tenants=human.tenants)
