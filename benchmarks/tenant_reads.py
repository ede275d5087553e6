"""A list of 50 tenants and the read of one, through the service, against NestJS (Fastify adapter) with Mongoose.

Both read the same collection of the same database with the same query, check the same internal tokens, and must
answer the same bytes. Our service also counts its metrics and keeps its relay and consumer running, as it always does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from benchmarks import node_peers
from benchmarks.load import Tally, ask, fire, get
from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Comparison, Figure, side
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting, alternate
from services.tenant.models import Tenant
from services.tenant.repository import INDEXES, TenantRepository
from shared.auth import InternalTokenIssuer
from shared.clock import SystemClock
from shared.contracts.tenant import BillingContact, DomainState
from shared.ids import new_id
from shared.mongo import Mongo, Transaction
from shared.testing import operator, public_keys, seed_of

OURS, PEER = "our tenant service", "NestJS, Mongoose"
TENANTS = 200
# More than either side's cache of verified tokens holds.
MANY_TOKENS = 4_600
OPERATIONS = {
    "list of 50": ("/api/tenants?limit=50", 1.5),
    "read of one": ("/api/tenants/tenant-0123", 1.0),
}


async def measure(setting: Setting) -> Figure:
    """Return list and read, with verified tokens remembered and with every token verified."""
    figure = Figure("tenant", "Tenant service: list of 50, read of one, from MongoDB")
    async with both(setting.folder) as servers:
        await _fill(servers)
        async with _ours(setting, servers) as ours:
            for cached in (True, False):
                async with _peer(setting, servers, cached=cached) as peer:
                    for operation in OPERATIONS:
                        figure.comparisons.append(await _compare(setting, ours, peer, operation, cached=cached))
    return figure


async def _compare(setting: Setting, ours: Pinned, peer: Pinned, operation: str, *, cached: bool) -> Comparison:
    path, target = OPERATIONS[operation]
    expected = await _same_bytes(ours.port, peer.port, path)
    quick = replace(setting, quick=setting.quick or not cached)

    async def run(service: Pinned, seconds: float) -> Tally:
        # Tokens live for a minute, and a cache must not know them from the round before.
        requests = [get(path, field) for field in _authorizations(16 if cached else MANY_TOKENS)]
        return await fire(service.port, requests, seconds=seconds, expected=expected, cpu_seconds=service.cpu_seconds)

    for service in (ours, peer):
        await run(service, quick.warm_up)
    mine, theirs = await alternate(
        setting.sized(7 if cached else 3, 1), *(partial(run, service, quick.seconds) for service in (ours, peer))
    )
    variant = "verified tokens remembered" if cached else "each token verified"
    return Comparison(f"{operation}, {variant}", side(OURS, mine), side(PEER, theirs), target)


async def _same_bytes(ours: int, peer: int, path: str) -> bytes:
    request = get(path, *_authorizations(1))
    (status, body), (other_status, other_body) = await ask(ours, request), await ask(peer, request)
    if status != 200 or other_status != 200 or body != other_body:
        raise AssertionError(
            f"{path}: the two do not answer the same: {status} {body!r}, {other_status} {other_body!r}"
        )
    return body


def _authorizations(count: int) -> list[str]:
    issuer = InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), SystemClock())
    return [f"Authorization: Bearer {issuer.issue('tenant', operator())}" for _ in range(count)]


def _ours(setting: Setting, servers: Servers) -> Pinned:
    port = free_port()
    log = setting.folder / "tenant.log"
    # Without the suite's backends, as the peer is: their conditions would be part of the answer.
    environment = {
        name: value
        for name, value in servers.environment("tenant", port).items()
        if not name.startswith(("TENANT_AUTHENTIK", "TENANT_STALWART", "TENANT_OCIS"))
    }
    return Pinned(python("services.tenant"), environment, log, port=port, ready_path="/readyz")


def _peer(setting: Setting, servers: Servers, *, cached: bool) -> Pinned:
    port = free_port()
    environment = node_peers.environment(
        PORT=str(port),
        MONGO_URI=servers.mongo_uri,
        MONGO_DATABASE="tenant",
        INTERNAL_KEYS=json.dumps({kid: key.model_dump() for kid, key in public_keys().items()}),
        TOKEN_CACHE="1" if cached else "0",
    )
    return Pinned(node_peers.installed("nest-tenants"), environment, setting.folder / "peer.log", port=port)


async def _fill(servers: Servers) -> None:
    mongo = Mongo(servers.mongo_uri, "tenant", "benchmarks")
    with_tenants = TenantRepository(mongo)
    await mongo.ensure_indexes(INDEXES)

    async def insert(tx: Transaction) -> None:
        for number in range(TENANTS):
            await with_tenants.insert(_tenant(number), tx)

    await mongo.transactions.run(insert)
    await mongo.close()


def _tenant(number: int) -> Tenant:
    slug = f"tenant-{number:04}"
    made = datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=number)
    return Tenant(
        id=new_id(),
        slug=slug,
        name=f"Tenant {number} Ltd",
        plan="business",
        cycle="month",
        currency="EUR",
        seats=25 + number,
        partner="nordic" if number % 2 else "fjord",
        status="active",
        created_at=made,
        updated_at=made,
        version=1,
        domains=(DomainState(name=f"{slug}.example", primary=True),),
        billing=BillingContact(contact=f"billing@{slug}.example", company=f"Tenant {number} Ltd", address="Weg 1"),
    )
