"""Composition root of the gateway."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import uvicorn

from gateway.addresses import ClientAddresses, Networks
from gateway.admission import Admission, Authenticates
from gateway.application import Gateway
from gateway.authenticator import Authenticator
from gateway.browser import Browser, Foundations
from gateway.changes import Changes
from gateway.directory import Directory, TenantDirectory
from gateway.edge import Edge, Limits
from gateway.endpoints import METADATA_PATH, Check, liveness, metrics, protected_resource, readiness
from gateway.identity import Credentials
from gateway.life import KeyWarmer, Life, Part
from gateway.openapi import MergedDocument
from gateway.protocol import ClientConnection
from gateway.providers import Providers
from gateway.proxy import Proxy
from gateway.refusal_reports import RefusalReports
from gateway.refusals import Refusals
from gateway.routes import RouteTable
from gateway.sealing import Keyring
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from gateway.telemetry import RequestLines, Telemetry
from gateway.upstream import Origin, Upstream
from shared import logs, tracing
from shared.auth import InternalTokenIssuer
from shared.bus import Bus
from shared.clock import Clock, SystemClock
from shared.http_client import trust
from shared.settings import decode_key, load
from shared.topology import Topology

GRACE_SECONDS = 10


@dataclass(frozen=True)
class Deps:
    """What the application stands on.

    Attributes:
        parts: started with the process and closed with it, in this order and its reverse.
        browser: the browser sign-in, if there is one.
        required: checks without which the gateway is not ready; ``optional`` ones are only reported.
    """

    authenticator: Authenticates
    directory: Directory
    credentials: Credentials
    upstreams: Mapping[str, Upstream]
    providers: Providers
    sweeper: Sweeper
    clock: Clock
    routes: RouteTable = field(default_factory=RouteTable)
    browser: Browser | None = None
    refusals: Refusals | None = None
    parts: tuple[Part, ...] = ()
    required: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)


class _Closing:
    """A part that only has to be closed."""

    def __init__(self, *closers: Any) -> None:
        self._closers = closers

    def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        for closer in self._closers:
            await closer()


class _Upstreams:
    """The services' pools and the sweep of their deadlines, as a part."""

    def __init__(self, upstreams: Mapping[str, Upstream], sweeper: Sweeper) -> None:
        self._upstreams = upstreams
        self._sweeper = sweeper

    def start(self) -> None:
        self._sweeper.start()

    async def close(self) -> None:
        for upstream in self._upstreams.values():
            upstream.close()
        self._sweeper.stop()


def build_deps(settings: GatewaySettings) -> Deps:
    """Wire the outside world; connects to nothing yet."""
    clock = SystemClock()
    sweeper = Sweeper()
    providers = Providers(settings.providers)
    upstreams = {name: Upstream(name, Origin.parse(url), sweeper) for name, url in settings.upstreams.items()}
    credentials = _credentials(settings, clock)
    issuers = httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=trust())
    authenticator = Authenticator.over(providers, issuers, clock=clock)
    keys = KeyWarmer(authenticator.warm)

    changes: Changes | None = None
    browser: Browser | None = None
    directory = Directory(
        TenantDirectory(upstreams["tenant"], credentials),
        now=time.monotonic,
        live=lambda: changes is not None and changes.live,
    )
    refusals, reports = Refusals(clock), None
    if settings.nats_url is not None:
        bus = Bus(settings.nats_url.get_secret_value(), "gateway", Topology(settings.nats_prefix))
        changes, reports = Changes(bus, directory), RefusalReports(bus, refusals)
        browser = _browser(settings, providers, bus, authenticator, directory)
    parts: list[Part] = [_Closing(tracing.stop), _Upstreams(upstreams, sweeper), _Closing(issuers.aclose)]
    parts += [_Closing(authenticator.aclose, directory.close), keys]
    parts += [part for part in (changes, browser, reports) if part is not None]
    return Deps(
        authenticator=authenticator,
        directory=directory,
        credentials=credentials,
        upstreams=upstreams,
        providers=providers,
        sweeper=sweeper,
        clock=clock,
        browser=browser,
        refusals=refusals,
        parts=tuple(parts),
        required={"keys": keys.check},
        optional={"nats": lambda: "off" if changes is None else "ok" if changes.live else "away"},
    )


def _credentials(settings: GatewaySettings, clock: Clock) -> Credentials:
    seed = decode_key(settings.internal_signing_key.get_secret_value())
    return Credentials(InternalTokenIssuer("gateway", settings.internal_signing_kid, seed, clock), clock)


def _browser(
    settings: GatewaySettings, providers: Providers, bus: Bus, authenticator: Authenticator, directory: Directory
) -> Browser | None:
    """Return the browser sign-in, if a surface has one."""
    if not settings.sign_in:
        return None
    foundations = Foundations(
        bus=bus,
        keyring=Keyring(settings.session_keys),
        verifier=authenticator,
        directory=directory,
        clock=SystemClock(),
        now=time.monotonic,
    )
    return Browser(foundations, providers, settings.sign_in, settings.base_url)


def create_app(settings: GatewaySettings, deps: Deps) -> Gateway:
    """Return the gateway over ``deps`` as an ASGI application, to be served by ``ClientConnection``."""
    routes = deps.routes
    threshold = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    lines = RequestLines(sys.stdout.buffer, enabled=threshold <= logging.INFO)
    telemetry = Telemetry(deps.upstreams, lines)
    document = MergedDocument(deps.upstreams, deps.credentials, routes, now=time.monotonic)
    return Gateway(
        routes=routes,
        addresses=ClientAddresses(Networks(settings.trusted_proxies)),
        admission=Admission(
            deps.authenticator,
            deps.directory,
            deps.credentials,
            deps.browser.door if deps.browser is not None else None,
            metadata_url=settings.base_url + METADATA_PATH,
        ),
        proxy=Proxy(deps.upstreams),
        endpoints={
            "/livez": liveness(),
            "/readyz": readiness(deps.required, deps.optional),
            "/metrics": metrics(telemetry),
            METADATA_PATH: protected_resource(settings.base_url, deps.providers),
            "/api/openapi.json": document,
        },
        telemetry=telemetry,
        refusals=deps.refusals or Refusals(deps.clock),
        life=Life([lines, *deps.parts]),
        pages=deps.browser.pages if deps.browser is not None else None,
    )


def build(settings: GatewaySettings) -> Gateway:
    """Return the gateway of a deployment."""
    return create_app(settings, build_deps(settings))


def listener(settings: GatewaySettings, app: Gateway, sweeper: Sweeper, limits: Limits | None = None) -> uvicorn.Server:
    """Return the server that listens for ``app``, with our own side of HTTP."""
    edge = Edge(
        sweeper,
        limits or Limits(connections=settings.max_connections),
        app.telemetry.refused,
    )
    protocol: Any = partial(ClientConnection, edge=edge)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2_048,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def main() -> None:
    """Run until SIGTERM: then accept nothing new, finish what runs (10 s), leave with status 0."""
    settings = load(GatewaySettings)
    logs.configure("gateway", settings.log_level)
    tracing.start("gateway", settings.environment, settings.otlp_endpoint)
    deps = build_deps(settings)
    server = listener(settings, create_app(settings, deps), deps.sweeper)
    # uvicorn raises the signal again when it is done; by then the work is done, too.
    signal.signal(signal.SIGTERM, lambda *_: None)
    # What was made until here stays for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    server.run()
