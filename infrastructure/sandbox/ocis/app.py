"""Puts the stand-in together."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware

from infrastructure.sandbox.kit import (
    FaultMiddleware,
    Faults,
    RequestLog,
    control_routes,
    open_private_store,
    private_directory,
    transaction,
)
from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.directory import ADMINISTRATOR, Directory
from infrastructure.sandbox.ocis.drives import Drives
from infrastructure.sandbox.ocis.gate import Gate
from infrastructure.sandbox.ocis.groups import Groups
from infrastructure.sandbox.ocis.health import health_routes
from infrastructure.sandbox.ocis.members import Members
from infrastructure.sandbox.ocis.provisioning import Provisioning
from infrastructure.sandbox.ocis.roles import role_routes
from infrastructure.sandbox.ocis.seed import Seed
from infrastructure.sandbox.ocis.signin import SignIn
from infrastructure.sandbox.ocis.spaces import Spaces
from infrastructure.sandbox.ocis.store import SCHEMA
from infrastructure.sandbox.ocis.users import Users


def build(state: Path, seed: Seed) -> Starlette:
    """Opens the state directory, installs the administrator and returns the application."""
    private_directory(state)
    store = open_private_store(state / "ocis.sqlite3", SCHEMA)
    directory, spaces, audit = Directory(store), Spaces(store, seed.public_url), Audit(state / "audit.log")
    with transaction(store):
        if directory.user(ADMINISTRATOR) is None:
            directory.add_user(ADMINISTRATOR, "Admin", "admin@example.org")

    sign_in = SignIn(seed.issuer, Provisioning(directory, spaces, audit, seed).user)
    gate = Gate(store, directory, seed, sign_in)
    users = Users(directory, spaces, audit, seed.username_match)
    faults, log = Faults(), RequestLog()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await sign_in.close()

    return Starlette(
        routes=[
            *control_routes(faults, log),
            *health_routes(store),
            *users.routes(gate),
            *Groups(directory, users, audit).routes(gate),
            *Drives(spaces, audit).routes(gate),
            *Members(directory, spaces, audit).routes(gate),
            *role_routes(gate),
        ],
        middleware=[Middleware(FaultMiddleware, faults=faults, log=log)],
        lifespan=lifespan,
    )
