"""A list of 50 tenants and the read of one, through the service, against NestJS (Fastify adapter) with Mongoose.

Both read the same collection of the same database with the same query, check the same internal tokens, and must
answer the same bytes. Our service also counts its metrics and keeps its relay and consumer running, as it always does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from benchmarks.load import Tally, fire, get
from benchmarks.processes import Pinned
from benchmarks.report import Comparison, Figure, side
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting, alternate
from benchmarks.tenant_sides import OURS, PEER, authorizations, ours, peer, same_bytes
from services.tenant.models import Tenant
from services.tenant.repository import INDEXES, TenantRepository
from shared.contracts.tenant import BillingContact, DomainState
from shared.ids import new_id
from shared.mongo import Mongo, Transaction

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
        async with ours(setting, servers) as we:
            for cached in (True, False):
                async with peer(setting, servers, cached=cached) as they:
                    for operation in OPERATIONS:
                        figure.comparisons.append(await _compare(setting, we, they, operation, cached=cached))
    return figure


async def _compare(setting: Setting, we: Pinned, they: Pinned, operation: str, *, cached: bool) -> Comparison:
    path, target = OPERATIONS[operation]
    expected = await same_bytes(we.port, they.port, path)
    quick = replace(setting, quick=setting.quick or not cached)

    async def run(service: Pinned, seconds: float) -> Tally:
        # Tokens live for a minute, and a cache must not know them from the round before.
        requests = [get(path, field) for field in authorizations(16 if cached else MANY_TOKENS)]
        return await fire(service.port, requests, seconds=seconds, expected=expected, cpu_seconds=service.cpu_seconds)

    for service in (we, they):
        await run(service, quick.warm_up)
    mine, theirs = await alternate(
        setting.sized(7 if cached else 3, 1), *(partial(run, service, quick.seconds) for service in (we, they))
    )
    variant = "verified tokens remembered" if cached else "each token verified"
    return Comparison(f"{operation}, {variant}", side(OURS, mine), side(PEER, theirs), target)


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
