"""Puts the stand-in together."""

import asyncio
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
from infrastructure.sandbox.stalwart.accounts import Accounts
from infrastructure.sandbox.stalwart.callers import Callers
from infrastructure.sandbox.stalwart.destruction import Destruction
from infrastructure.sandbox.stalwart.health import health_routes
from infrastructure.sandbox.stalwart.jmap import Jmap
from infrastructure.sandbox.stalwart.kinds import KINDS
from infrastructure.sandbox.stalwart.mailroom import Mailroom
from infrastructure.sandbox.stalwart.objects import SCHEMA, Draft, Objects, text_id
from infrastructure.sandbox.stalwart.registry import Registry
from infrastructure.sandbox.stalwart.seed import Seed
from infrastructure.sandbox.stalwart.session import Session
from infrastructure.sandbox.stalwart.webhooks import Events


def build(state: Path, seed: Seed) -> Starlette:
    """Opens the state directory, installs the administrator and returns the application."""
    private_directory(state)
    objects = Objects(open_private_store(state / "stalwart.sqlite3", SCHEMA))
    _install(objects, seed)

    accounts, events = Accounts(objects), Events(objects)
    destruction = Destruction(objects, seed.destroy_delay_ms / 1000)
    callers = Callers(objects, accounts, events, seed)
    jmap = Jmap(callers, Registry(objects, accounts, destruction, seed.limits), events, seed.limits)
    faults, log = Faults(), RequestLog()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        events.reload()
        tasks = asyncio.create_task(destruction.run())
        yield
        tasks.cancel()
        await events.close()

    app = Starlette(
        routes=[
            *control_routes(faults, log),
            *Mailroom(objects, accounts, events).routes(),
            *health_routes(objects.store, callers),
            *jmap.routes(),
            *Session(callers, seed.limits).routes(),
        ],
        middleware=[Middleware(FaultMiddleware, faults=faults, log=log)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _install(objects: Objects, seed: Seed) -> None:
    """The administrator with its domain, once; its secret stays in the seed file."""
    if objects.installed("administrator") is not None:
        return
    name, _, domain = seed.admin_user.partition("@")
    by_hand = {"@type": "Manual"}
    manual = {f"{what}Management": by_hand for what in ("certificate", "dkim", "dns")}
    with transaction(objects.store):
        place = KINDS["Domain"].shape.read({"name": domain, **manual}, "", [])
        home = objects.add("Domain", Draft(place, KINDS["Domain"].keys(place), frozenset(), None))
        raw = {"@type": "User", "name": name, "domainId": text_id(home), "roles": {"@type": "Admin"}}
        person = KINDS["Account"].shape.read(raw, "", [])
        number = objects.add("Account", Draft(person, KINDS["Account"].keys(person), frozenset({home}), None))
        objects.store.execute("INSERT INTO installed VALUES ('administrator', ?)", (number,))
