"""Puts the stand-in together."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware

from infrastructure.sandbox.authentik.applications import Applications
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.grants import Grants
from infrastructure.sandbox.authentik.health import health_routes
from infrastructure.sandbox.authentik.keys import load_keys
from infrastructure.sandbox.authentik.oidc import Oidc
from infrastructure.sandbox.authentik.seed import Seed, Seeding
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
    oidc = Oidc(applications, Grants(applications, directory), tokens, seed.public_url)
    faults, log = Faults(), RequestLog()
    app = Starlette(
        routes=[*control_routes(faults, log), *health_routes(store), *oidc.routes()],
        middleware=[Middleware(FaultMiddleware, faults=faults, log=log)],
    )
    # The original answers 404 without the trailing slash; a redirect would hide the client's mistake.
    app.router.redirect_slashes = False
    return app
