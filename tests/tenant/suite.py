"""The tenant service with all three integrations as processes of their own, and what these hold, by raw HTTP."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.tenant.main import build
from services.tenant.models import Tenant
from services.tenant.people.models import Human, Identity, Place
from services.tenant.people.repository import PeopleRepository
from services.tenant.provisioning.certificates.models import Signer
from services.tenant.provisioning.certificates.repository import CertificateRepository
from services.tenant.provisioning.deletions import Deletions, Departures, Records
from services.tenant.provisioning.drift.repository import AcceptanceRepository
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.repository import TenantRepository
from services.tenant.scope import EVERYTHING
from services.tenant.settings import TenantSettings
from shared.clock import SystemClock
from shared.ids import new_id
from shared.mongo import Mongo, Transaction
from shared.outbox import Outbox
from shared.testing import Callers, operator, partner_person
from tests.sandbox.authentik.process import SEED, StandIn
from tests.sandbox.ocis.process import TOKEN as OCIS_TOKEN
from tests.sandbox.ocis.process import Ocis, drive_path, root
from tests.sandbox.stalwart.process import API_KEY, PASSWORD, Stalwart
from tests.support.servers import LiveServer
from tests.support.waiting import eventually
from tests.tenant.people import ready

CALLERS = Callers("tenant")
SUITE = "dezky-suite"
APP_PASSWORD = "app-password-of-a-person-0001"


def seed_with_suite() -> dict[str, Any]:
    """Authentik's seed with the suite's application, which is bound to the suite's group."""
    seed = deepcopy(SEED)
    suite = {"slug": SUITE, "name": "Suite", "clientId": SUITE, "clientSecret": "secret-of-the-suite-0001"}
    seed["applications"].append({**suite, "redirectUris": ["http://127.0.0.1/"], "boundGroup": SUITE})
    seed["groups"].append(SUITE)
    return seed


@dataclass
class Suite:
    """The three integrations."""

    authentik: StandIn
    stalwart: Stalwart
    ocis: Ocis

    def settings(self) -> dict[str, Any]:
        return {
            "authentik_url": self.authentik.url,
            "authentik_token": SEED["apiToken"],
            "stalwart_url": self.stalwart.url,
            "stalwart_api_key": API_KEY,
            "ocis_url": self.ocis.url,
            "ocis_token": OCIS_TOKEN,
        }

    def heal(self) -> None:
        for http in (self.authentik.http, self.stalwart.http, self.ocis.http):
            assert http.delete("/_sandbox/faults").status_code == 204


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """One instance of each per module; tests use names of their own."""
    authentik = StandIn(tmp_path_factory.mktemp("authentik"))
    authentik.seed = seed_with_suite() | {"publicUrl": authentik.url}
    generous = {"authenticatedPerMinute": 100_000, "anonymousPerMinute": 100_000}
    stalwart = Stalwart(tmp_path_factory.mktemp("stalwart"), limits=generous)
    made = Suite(authentik, stalwart, Ocis(tmp_path_factory.mktemp("ocis")))
    for process in (authentik, stalwart, made.ocis):
        process.start()
    yield made
    for process in (authentik, stalwart, made.ocis):
        process.stop()
        process.close()


@dataclass
class World:
    """A running tenant service, its database, and the integrations behind it."""

    http: httpx.AsyncClient
    mongo: Mongo
    suite: Suite
    mark: str = field(default_factory=lambda: secrets.token_hex(4))

    def slug(self, name: str = "acme") -> str:
        return f"{name}-{self.mark}"

    @property
    def domain(self) -> str:
        return f"d{self.mark}.example"

    async def sell(self) -> None:
        """Make what a tenant needs before it can be created."""
        await self.mongo.db["partners"].insert_one(
            {"_id": "nordic", "slug": "nordic", "name": "Nordic", "status": "active", "version": 1}
        )
        sold = {"plan": "business", "cycle": "month", "currencies": ["EUR"], "archived": False, "version": 1}
        await self.mongo.db["prices"].insert_one({"_id": "business-month", **sold})

    async def create(self, name: str = "acme", *, domains: bool = True, seats: int = 5) -> dict[str, Any]:
        body = {"slug": self.slug(name), "name": name.title(), "plan": "business", "seats": seats}
        if domains:
            body["domains"] = [{"name": self.domain, "primary": True}]
        reply = await self.http.post("/api/tenants", json=body, headers=CALLERS.headers(partner_person("nordic")))
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made

    async def act(self, verb: str, name: str = "acme", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        path = f"/api/tenants/{self.slug(name)}/{verb}"
        reply = await self.http.post(path, json=body, headers=CALLERS.headers(operator()))
        assert reply.is_success, reply.text
        done: dict[str, Any] = reply.json()
        return done

    async def tenant(self, name: str = "acme") -> dict[str, Any]:
        reply = await self.http.get(f"/api/tenants/{self.slug(name)}", headers=CALLERS.headers(operator()))
        assert reply.status_code == 200, reply.text
        seen: dict[str, Any] = reply.json()
        return seen

    async def conditions(self, name: str = "acme") -> dict[str, tuple[str, str]]:
        provisioning = (await self.tenant(name))["provisioning"]
        return {integration: (c["status"], c["reason"]) for integration, c in provisioning.items()}

    async def settled(self, reason: str, name: str = "acme", seconds: float = 30) -> dict[str, Any]:
        """Wait until every condition is ready for ``reason``, for the tenant's present version."""

        async def look() -> bool:
            seen = await self.tenant(name)
            assert set(await self.conditions(name)) == {"authentik", "stalwart", "ocis"}
            assert all((c["status"], c["reason"]) == ("ready", reason) for c in seen["provisioning"].values()), seen
            return all(c["observedGeneration"] == seen["version"] for c in seen["provisioning"].values())

        await eventually(look, seconds=seconds)
        return await self.tenant(name)

    async def person(self, local: str, *, ours: bool = False, **changes: Any) -> Human:
        """Store somebody with an account at Authentik that has an app password.

        ``ours`` marks the account as made by the platform for this person.
        """
        address = changes.pop("email", f"{local}@{self.domain}")
        identity = new_id()
        marked = {"attributes": {"dezky": {"person": identity}}} if ours else {}
        account = self.suite.authentik.new_user(address, email=address, **marked)
        token = {"identifier": f"{local}-{self.mark}", "intent": "app_password", "user": account["pk"]}
        assert self.suite.authentik.api("POST", "/core/tokens/", {**token, "expiring": False}).status_code == 201
        key = f"/core/tokens/{local}-{self.mark}/set_key/"
        assert self.suite.authentik.api("POST", key, {"key": APP_PASSWORD}).status_code == 204
        human = Human(
            id=identity,
            email=address,
            name=local.title(),
            identities=(Identity("authentik", account["uid"]),),
            created_at=SystemClock().now(),
            account=account["pk"],
            **{"tenants": {self.slug(): "member"}, **changes},
        )

        async def body(tx: Transaction) -> None:
            await PeopleRepository(self.mongo).insert(human, tx)

        await self.mongo.transactions.run(body)
        return human

    async def change(self, human: Human, **changes: Any) -> Human:
        """Change a person as the use cases of people do: the next version, in a transaction."""
        after = human.changed(**changes)

        async def body(tx: Transaction) -> None:
            await PeopleRepository(self.mongo).save(human, after, tx)

        await self.mongo.transactions.run(body)
        return after

    async def move(self, name: str, transition: Callable[[Tenant, datetime], Tenant]) -> Tenant:
        """Apply a transition of a tenant, and ask for the comparison that follows it."""
        tenants, rows = TenantRepository(self.mongo), ProvisioningRepository(self.mongo)

        async def body(tx: Transaction) -> Tenant:
            before = await tenants.find(scope=EVERYTHING, slug=self.slug(name), tx=tx)
            assert before is not None
            after = transition(before, SystemClock().now())
            if after is not before:
                await tenants.save(before, after, tx)
                await rows.want(after, tx)
            return after

        return await self.mongo.transactions.run(body)

    async def delete(self, name: str = "acme", grace: timedelta = timedelta()) -> None:
        await self.move(name, lambda tenant, now: tenant.delete("left us", now + grace, now))

    async def restore(self, name: str = "acme") -> Tenant:
        return await self.move(name, lambda tenant, now: tenant.restore(now))

    async def grace_over(self, name: str = "acme") -> None:
        """Let the time to restore a tenant be over."""
        over = {"$set": {"deletion.erase_after": SystemClock().now()}}
        await self.mongo.db["tenants"].update_one({"slug": self.slug(name)}, over)

    async def deleted(self, name: str = "acme", seconds: float = 60) -> dict[str, Any]:
        """Wait until a tenant's deletion has ended."""

        async def look() -> bool:
            seen = await self.tenant(name)
            assert seen["status"] == "deleted", seen["provisioning"]
            return True

        await eventually(look, seconds=seconds)
        return await self.tenant(name)

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        rows = self.mongo.db["outbox"].find({"type": event_type}).sort("_id", 1)
        return [row["envelope"]["data"] async for row in rows]

    # -- what the integrations hold

    def groups(self, name: str = "acme") -> list[dict[str, Any]]:
        return self.suite.authentik.results("/core/groups/", name=f"dezky-tenant-{self.slug(name)}")

    def members(self, name: str = "acme") -> set[str]:
        (group,) = self.groups(name)
        found = self.suite.authentik.results("/core/users/", groups_by_pk=group["pk"])
        return {user["username"] for user in found if not user["username"].startswith("dezky-probe-")}

    def account(self, human: Human) -> dict[str, Any]:
        found: dict[str, Any] = self.suite.authentik.api("GET", f"/core/users/{human.account}/").json()
        return found

    def suite_sign_in(self, human: Human) -> tuple[int, str]:
        reply = self.suite.authentik.token(SUITE, {"username": human.email, "appPassword": APP_PASSWORD})
        return reply.status_code, reply.json().get("error", "")

    def probes(self, name: str = "acme") -> list[dict[str, Any]]:
        return self.suite.authentik.results("/core/users/", username=f"dezky-probe-{self.slug(name)}")

    def ocis_users(self) -> dict[str, str]:
        """Ids of the users with an address in this test's domain, by that address."""
        users = self.suite.ocis.get("/graph/v1.0/users")["value"]
        return {user["mail"]: user["id"] for user in users if user["mail"].endswith(f"@{self.domain}")}

    def domains(self) -> list[str]:
        found: list[str] = self.suite.stalwart.call("x:Domain/query", {"filter": {"name": self.domain}})["ids"]
        return found

    def mailboxes(self) -> dict[str, dict[str, Any]]:
        (domain,) = self.domains()
        ids = self.suite.stalwart.call("x:Account/query", {"filter": {"domainId": domain}})["ids"]
        found = self.suite.stalwart.call("x:Account/get", {"ids": ids})["list"]
        return {account["emailAddress"]: account for account in found}

    def give_mail_password(self, address: str) -> None:
        secret = {"@type": "Password", "secret": PASSWORD}
        self.suite.stalwart.update("Account", self.mailboxes()[address]["id"], {"credentials": {"0": secret}})

    def may_submit(self, address: str) -> str:
        message = {"from": address, "to": "someone@elsewhere.example"}
        result: str = self.suite.stalwart.http.post("/_sandbox/submission", json=message).json()["result"]
        return result

    def spaces(self, name: str = "acme") -> list[dict[str, Any]]:
        drives = self.suite.ocis.get("/graph/v1.0/drives")["value"]
        return [drive for drive in drives if drive["name"] == self.slug(name)]

    def space(self, name: str = "acme") -> dict[str, Any]:
        (space,) = self.spaces(name)
        return space

    def in_space(self) -> dict[str, str]:
        given = self.suite.ocis.get(f"{root(self.space()['id'])}/permissions")["value"]
        users = {user["id"]: user["mail"] for user in self.suite.ocis.get("/graph/v1.0/users")["value"]}
        return {users[g["grantedToV2"]["user"]["id"]]: g["roles"][0] for g in given}


def deletions_of(mongo: Mongo, departures: Departures | None = None) -> Deletions:
    """What begins and ends erasures, for who runs them by hand."""
    clock = SystemClock()
    tenants, rows = TenantRepository(mongo), ProvisioningRepository(mongo)
    records = Records(
        tenants,
        rows,
        Intents(rows, ("authentik", "stalwart", "ocis")),
        CertificateRepository(mongo),
        AcceptanceRepository(mongo),
        mongo.transactions,
        Outbox(mongo, "tenant", clock),
        clock,
    )
    return Deletions(records, Signer(bytes(32), "dezky:test"), departures or Dismissing(mongo))


def is_disabled(space: dict[str, Any]) -> bool:
    return bool(space["root"].get("deleted", {}).get("state") == "trashed")


def disable(suite: Suite, space: dict[str, Any]) -> None:
    assert suite.ocis.send("DELETE", drive_path(space["id"])).status_code == 204


class Dismissing:
    """Ends the roles of people at a tenant as the use cases of people do, for who has no other place for good."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._people = PeopleRepository(mongo)

    async def dismiss(self, tenant: str, limit: int = 100) -> int:
        page = await self._people.page_at(place=Place("tenant", tenant), limit=limit, cursor=None)
        for human in page.items:
            after = human.with_role(Place("tenant", tenant), None)
            if not after.places:
                after = replace(after, email="", name="", identities=(), status="erased")

            async def body(tx: Transaction, before: Human = human, after: Human = after) -> None:
                await self._people.save(before, after, tx)

            await self._mongo.transactions.run(body)
        return len(page.items)


@contextlib.asynccontextmanager
async def serving(environment: dict[str, Any], mongo: Mongo, suite: Suite) -> AsyncIterator[World]:
    settings = TenantSettings(**environment)
    app = build(settings)
    async with (
        LiveServer(app, settings.port) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as http,
    ):
        made = World(http, mongo, suite)
        await eventually(lambda: ready(http))
        yield made


@pytest.fixture
async def world(service_environment: Any, mongo: Mongo, suite: Suite) -> AsyncIterator[World]:
    environment = service_environment("tenant", **suite.settings(), resync_seconds=1)
    async with serving(environment, mongo, suite) as made:
        await made.sell()
        yield made
    suite.heal()
