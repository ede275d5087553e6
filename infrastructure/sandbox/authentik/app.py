"""Puts the stand-in together."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.apps import ApplicationsResource
from infrastructure.sandbox.authentik.api.bindings import Bindings
from infrastructure.sandbox.authentik.api.crypto import KeyPairs
from infrastructure.sandbox.authentik.api.events import Events
from infrastructure.sandbox.authentik.api.flows import Flows
from infrastructure.sandbox.authentik.api.gate import Gate
from infrastructure.sandbox.authentik.api.groups import Groups
from infrastructure.sandbox.authentik.api.mappings import ScopeMappings
from infrastructure.sandbox.authentik.api.providers import Providers
from infrastructure.sandbox.authentik.api.roles import Roles
from infrastructure.sandbox.authentik.api.tokens import TokensResource
from infrastructure.sandbox.authentik.api.users import Users
from infrastructure.sandbox.authentik.applications import Applications
from infrastructure.sandbox.authentik.certificates import KeyPair
from infrastructure.sandbox.authentik.codes import Codes
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.grants import Grants
from infrastructure.sandbox.authentik.health import health_routes
from infrastructure.sandbox.authentik.introspection import Introspection
from infrastructure.sandbox.authentik.issued import Issued
from infrastructure.sandbox.authentik.journal import Journal
from infrastructure.sandbox.authentik.keys import load_keys
from infrastructure.sandbox.authentik.login import Authorization, Cookies, LoginPages
from infrastructure.sandbox.authentik.logout import EndSession
from infrastructure.sandbox.authentik.notices import LogoutDelivery, Notices
from infrastructure.sandbox.authentik.oidc import Discovery, TokenEndpoint
from infrastructure.sandbox.authentik.recovery import Recovery
from infrastructure.sandbox.authentik.seed import Seed, Seeding
from infrastructure.sandbox.authentik.sessions import Sessions
from infrastructure.sandbox.authentik.store import open_store
from infrastructure.sandbox.authentik.tokens import Tokens
from infrastructure.sandbox.kit import FaultMiddleware, Faults, RequestLog, control_routes, private_directory


def build(state: Path, seed: Seed) -> Starlette:
    """Opens the state directory, seeds it and returns the application."""
    private_directory(state)
    keys = load_keys(state)
    store = open_store(state / "authentik.sqlite3")
    directory = Directory(store, keys.secret)
    applications = Applications(store)
    Seeding(store, directory, applications).apply(seed)

    tokens = Tokens(keys, directory, seed.public_url)
    issued, notices = Issued(store), Notices(store, applications)
    sessions = Sessions(store, directory, issued, notices)
    recovery = Recovery(store, directory, seed.public_url)
    faults, log = Faults(), RequestLog()
    app = Starlette(
        routes=[
            *control_routes(faults, log),
            *health_routes(store),
            *_provider(store, seed, directory, tokens, issued, sessions, recovery),
            *_api(store, seed, directory, sessions, recovery),
            *_access(store, seed, directory, KeyPair(keys)),
        ],
        middleware=[Middleware(FaultMiddleware, faults=faults, log=log)],
        lifespan=_delivering(LogoutDelivery(notices, applications, tokens)),
    )
    # The original answers 404 without the trailing slash; a redirect would hide the client's mistake.
    app.router.redirect_slashes = False
    return app


def _provider(
    store: sqlite3.Connection,
    seed: Seed,
    directory: Directory,
    tokens: Tokens,
    issued: Issued,
    sessions: Sessions,
    recovery: Recovery,
) -> list[Route]:
    """Sign-in and tokens."""
    applications = Applications(store)
    codes = Codes(store, directory, issued)
    grants = Grants(applications, directory, codes, issued)
    cookies = Cookies(secure=seed.public_url.startswith("https://"))
    return [
        *TokenEndpoint(store, grants, tokens, issued, Journal(store)).routes(),
        *Introspection(grants, directory, tokens, issued).routes(),
        *Authorization(store, applications, grants, sessions, codes).routes(),
        *LoginPages(store, directory, sessions, recovery, cookies).routes(),
        *EndSession(store, applications, sessions, tokens).routes(),
        *Discovery(applications, tokens, seed.public_url).routes(),
    ]


def _api(
    store: sqlite3.Connection, seed: Seed, directory: Directory, sessions: Sessions, recovery: Recovery
) -> list[Route]:
    """Administration."""
    journal = Journal(store)
    gate = Gate(store, directory, seed.api_token.get_secret_value())
    return [
        *Users(store, directory, sessions, recovery, journal).routes(gate),
        *Groups(store, directory, journal).routes(gate),
        *TokensResource(store, directory, journal).routes(gate),
        *Events(store).routes(gate),
        *Flows(store, journal).routes(gate),
    ]


def _access(store: sqlite3.Connection, seed: Seed, directory: Directory, pair: KeyPair) -> list[Route]:
    """Administration of applications and of rights."""
    journal = Journal(store)
    gate = Gate(store, directory, seed.api_token.get_secret_value())
    return [
        *ApplicationsResource(store, journal).routes(gate),
        *Providers(store, pair, journal).routes(gate),
        *ScopeMappings(store, journal).routes(gate),
        *KeyPairs(pair).routes(gate),
        *Bindings(store, directory, journal).routes(gate),
        *Roles(store, journal).routes(gate),
    ]


def _delivering(delivery: LogoutDelivery) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(delivery.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return lifespan
