"""A gateway with browser sign-in on a real socket, a nats-server with the fleet's permissions, and visitors."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import nats
import orjson
import pytest

from gateway.authenticator import Authenticator
from gateway.browser import Browser, Foundations
from gateway.directory import Directory
from gateway.identity import Credentials
from gateway.main import Deps, create_app, listener
from gateway.providers import Providers
from gateway.sealing import Keyring
from gateway.session_store import BUCKET, SessionStore, Stored
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from gateway.upstream import Origin, Upstream
from infrastructure.bootstrap import streams
from infrastructure.local.servers.nats import NatsServer, NatsUser, render_config
from shared import topology
from shared.auth import InternalTokenIssuer
from shared.bucket import Bucket
from shared.bus import Bus
from shared.clock import SystemClock
from shared.testing import seed_of, seed_text
from shared.topology import Topology
from tests.gateway.running import SERVICES, People, Service
from tests.sandbox.authentik.browser import Browser as LoginPage
from tests.sandbox.authentik.process import StandIn
from tests.support.servers import NATS_PASSWORD, PromptServer, free_port, nats_url
from tests.support.waiting import eventually

PREFIX = "browsing"
KEY = bytes(range(32))
SECRETS = {"operator": "secret-of-the-operator-app", "portal": "secret-of-the-portal-app"}


class ShiftedClock:
    """The machine's clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.shift


def guarded_nats(directory: Path) -> NatsServer:
    """Start a nats-server where each process may do what its row of the topology says, and no more."""
    allowed = {name: Topology(PREFIX).permissions(name) for name in topology.BY_NAME}
    users = [NatsUser(name, NATS_PASSWORD, p["publish"], p["subscribe"]) for name, p in allowed.items()]
    port, monitor = free_port(), free_port()
    text = render_config(port, monitor, directory / "jetstream", [NatsUser("admin", NATS_PASSWORD), *users])
    server = NatsServer(directory, port, monitor, text)
    server.start()
    return server


@contextlib.asynccontextmanager
async def administrator(server: NatsServer) -> AsyncIterator[Any]:
    """A connection that may do everything."""
    connection = await nats.connect(nats_url(server, "admin"))
    try:
        yield connection
    finally:
        await connection.close()


def sign_in_provider(directory: Path, gateway_port: int) -> Iterator[StandIn]:
    """Run an identity provider that knows the gateway at ``gateway_port`` as its client for both surfaces."""
    instance = StandIn(directory)
    for application in instance.seed["applications"]:
        surface = application["slug"].removeprefix("dezky-")
        base = f"http://127.0.0.1:{gateway_port}"
        application["redirectUris"] = [f"{base}/auth/{surface}/callback"]
        application["postLogoutRedirectUris"] = [f"{base}/"]
        application["backchannelLogoutUri"] = f"{base}/auth/{surface}/backchannel-logout"
        application["boundGroup"] = None
    instance.start()
    yield instance
    instance.stop()
    instance.close()


@dataclass
class Visitor:
    """A browser, as far as the gateway sees it; it keeps Secure cookies on loopback, as browsers do."""

    url: str
    http: httpx.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {})}
        if self.cookies and "cookie" not in headers:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self.http.request(method, self.url + path, headers=headers, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def write(self, path: str, origin: str, method: str = "POST", **headers: str) -> httpx.Response:
        """A write of our own page: with the field and the Origin that it has."""
        fields = {"x-dezky-csrf": "1", "origin": origin}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(method, path, headers={**fields, **given})


@dataclass
class Site:
    """A running gateway with what a test needs to look behind it."""

    port: int
    public_url: str
    service: Service
    people: People
    browser: Browser
    bus: Bus
    provider: StandIn
    clock: ShiftedClock
    http: httpx.AsyncClient

    def visitor(self, **cookies: str) -> Visitor:
        return Visitor(f"http://127.0.0.1:{self.port}", self.http, {f"__Host-{n}": v for n, v in cookies.items()})

    async def begin(self, visitor: Visitor, surface: str = "portal", return_to: str = "/") -> str:
        """Return where the browser is sent to sign in."""
        answer = await visitor.send("GET", f"/auth/{surface}/login", params={"returnTo": return_to})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def at_the_provider(self, target: str, person: dict[str, Any]) -> str:
        """Sign in on the provider's page; return the path of ours that it leads back to."""
        location = await asyncio.to_thread(self._sign_in, target, person)
        assert location.startswith(self.public_url), location
        return location.removeprefix(self.public_url)

    def _sign_in(self, target: str, person: dict[str, Any]) -> str:
        page = LoginPage(self.provider)
        asked = page.http.get(target)
        signed = page.submit(asked.headers["location"], username=person["username"], password=person["password"])
        location: str = page.http.get(signed.headers["location"]).headers["location"]
        return location

    async def sign_in(self, person: dict[str, Any], surface: str = "portal", return_to: str = "/") -> Visitor:
        """Return a visitor who is signed in."""
        visitor = self.visitor()
        back = await self.at_the_provider(await self.begin(visitor, surface, return_to), person)
        answer = await visitor.get(back)
        assert answer.status_code == 303, answer.text
        return visitor

    def store(self, surface: str = "portal", key: bytes = KEY) -> SessionStore:
        return SessionStore(surface, Keyring([key]), Bucket(self.bus, BUCKET))  # type: ignore[arg-type]

    async def stored(self, visitor: Visitor, surface: str = "portal") -> Stored:
        """Return what is kept for a visitor."""
        store = self.store(surface)
        key = store.locate(visitor.cookies[f"__Host-dezky-{surface}"].encode())
        assert key is not None
        found = await store.read(key)
        assert found is not None
        return found

    async def age_token(self, visitor: Visitor, surface: str = "portal") -> Stored:
        """Make the visitor's access token look as if it had expired."""
        return await self.store(surface).write(await self.stored(visitor, surface), access_expires_at=0.0)

    def token_requests(self) -> int:
        """How often the provider's token endpoint was asked."""
        rows = self.provider.get("/_sandbox/requests").json()
        return sum(row["path"] == "/application/o/token/" for row in rows)


@contextlib.asynccontextmanager
async def site(
    server: NatsServer,
    provider: StandIn,
    port: int,
    *,
    public_port: int = 0,
    keys: tuple[bytes, ...] = (KEY,),
) -> AsyncIterator[Site]:
    """Run a gateway at ``port``; a second replica is known by the ``public_port`` of the first."""
    settings = settings_of(server, provider, port, public_port or port)
    service, people, clock = Service(), People(), ShiftedClock()
    bus = Bus(nats_url(server, "gateway"), "gateway", Topology(PREFIX))
    async with contextlib.AsyncExitStack() as ends:
        await service.start()
        ends.push_async_callback(service.stop)
        ends.push_async_callback(bus.close)
        deps = wired(settings, bus, people, clock, keys, Origin("127.0.0.1", service.port), ends)
        assert deps.browser is not None
        running = PromptServer(listener(settings, create_app(settings, deps), deps.sweeper).config)
        bus.start()
        task = asyncio.create_task(running.serve())

        async def stop() -> None:
            running.should_exit = True
            await task

        async def ready() -> bool:
            return running.started and bus.connected

        ends.push_async_callback(stop)
        await eventually(ready, what="the gateway to start")
        http = await ends.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=20))
        yield Site(port, settings.base_url, service, people, deps.browser, bus, provider, clock, http)


def wired(
    settings: GatewaySettings,
    bus: Bus,
    people: People,
    clock: ShiftedClock,
    keys: tuple[bytes, ...],
    origin: Origin,
    ends: contextlib.AsyncExitStack,
) -> Deps:
    """Wire a gateway as the composition root does, but for people and services; ``ends`` closes what it opens."""
    sweeper = Sweeper(0.02)
    signed = InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), SystemClock())
    providers = Providers(settings.providers)
    fetcher = httpx.AsyncClient(trust_env=False)
    authenticator = Authenticator.over(providers, fetcher, clock=clock)
    directory = Directory(people, now=time.monotonic, live=lambda: False)
    foundations = Foundations(bus, Keyring(keys), authenticator, directory, clock, time.monotonic)
    browser = Browser(foundations, providers, settings.sign_in, settings.base_url)
    upstreams = {name: Upstream(name, origin, sweeper) for name in SERVICES}
    for close in (fetcher.aclose, authenticator.aclose, directory.close, browser.close):
        ends.push_async_callback(close)
    for upstream in upstreams.values():
        ends.callback(upstream.close)
    sweeper.start()
    ends.callback(sweeper.stop)
    credentials = Credentials(signed, SystemClock())
    return Deps(authenticator, directory, credentials, upstreams, providers, sweeper, clock, browser=browser)


def settings_of(server: NatsServer, provider: StandIn, port: int, public_port: int) -> GatewaySettings:
    return GatewaySettings(
        port=port,
        public_url=f"http://127.0.0.1:{public_port}",
        providers=[
            {
                "issuer": f"{provider.url}/application/o/dezky-{surface}/",
                "audiences": [f"dezky-{surface}"],
                "algorithms": ["RS256"],
                "surface": surface,
                "identityProvider": "authentik",
            }
            for surface in SECRETS
        ],
        upstreams={"tenant": "http://127.0.0.1:9"},
        nats_url=nats_url(server, "gateway"),
        nats_prefix=PREFIX,
        internal_signing_key=seed_text("gateway"),
        internal_signing_kid="gateway-1",
        session_key=seed_text("sessions"),
        sign_in={s: {"clientId": f"dezky-{s}", "clientSecret": secret} for s, secret in SECRETS.items()},
    )


async def events(server: NatsServer, event_type: str) -> list[dict[str, Any]]:
    """Return the events of a type that JetStream has stored, oldest first."""
    found: list[dict[str, Any]] = []
    async with administrator(server) as admin:
        sequence = 1
        subject = Topology(PREFIX).subject(event_type)
        while True:
            question = orjson.dumps({"seq": sequence, "next_by_subj": subject})
            reply = await admin.request(f"$JS.API.STREAM.MSG.GET.{PREFIX}-EVENTS", question, timeout=5)
            answer = orjson.loads(reply.data)
            if "error" in answer:
                return found
            found.append(orjson.loads(base64.b64decode(answer["message"]["data"])))
            sequence = answer["message"]["seq"] + 1


def query_of(location: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(location).query))


@pytest.fixture(scope="module")
def entrance_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, entrance_port: int) -> Iterator[StandIn]:
    yield from sign_in_provider(tmp_path_factory.mktemp("authentik"), entrance_port)


@pytest.fixture(scope="module")
def fleet_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server where each process may do what its row of the topology says, and no more."""
    server = guarded_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


@pytest.fixture
async def entrance(fleet_nats: NatsServer, provider: StandIn, entrance_port: int) -> AsyncIterator[Site]:
    """A gateway where people can sign in with a browser."""
    async with administrator(fleet_nats) as admin:
        await streams.ensure(admin, Topology(PREFIX))
    async with site(fleet_nats, provider, entrance_port) as running:
        yield running
    provider.http.delete("/_sandbox/faults")
