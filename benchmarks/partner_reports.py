"""Reports of one partner at a thousand to a hundred thousand customers, through the partner service.

Beside the time stands what MongoDB's profiler counted for one answer. A report adds up all customers of its partner, so
keys grow with them; what matters is that they are keys and not rows, and that nothing else grows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import orjson
from pymongo import AsyncMongoClient, IndexModel, WriteConcern

from benchmarks.examined import examined
from benchmarks.load import Tally, ask, fire, get, post
from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Figure, Growth, percentile
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting
from benchmarks.tenant_sides import authorizations
from services.partner.customers.models import Customer, ProvisioningPart, Stay, SubscriptionPart, TenantPart, UsagePart
from services.partner.standings.repository import INDEXES, _document
from shared.mongo import Document
from shared.testing import operator, partner_person

SIZES = (1_000, 10_000, 100_000)
CONNECTIONS = 4
# Long enough that each connection sees several answers at a hundred thousand.
SECONDS_PER_SIZE = {1_000: 2.0, 10_000: 2.0, 100_000: 6.0}
PARTNER = {
    "slug": "nordic",
    "name": "Nordic Workspace",
    "contract": {
        "startsOn": "2025-01-01",
        "termMonths": 36,
        "margins": [{"since": "2025-01-01", "marginBps": 2_000}],
    },
}
ROOT = "/api/partners/nordic/reports"
SAVED = {
    "name": "Seats by plan and status",
    "definition": {"dataset": "customers", "groupBy": ["plan", "status"], "measures": ["customers", "seats"]},
}
STAFF = partner_person("nordic", "staff")
_NOW = datetime.now(UTC).replace(microsecond=0)
_BATCH = 2_000


@dataclass(frozen=True)
class Asked:
    """A report, as a path or, for a saved one, as what is posted."""

    what: str
    path: str
    saved: bool = False

    def request(self, field: str) -> bytes:
        return post(self.path, b"", field) if self.saved else get(self.path, field)


REPORTS = (
    Asked("health, first 50 at risk", f"{ROOT}/health?level=atRisk&limit=50"),
    Asked("revenue by plan", f"{ROOT}/revenue-by-plan"),
    Asked("top customers", f"{ROOT}/top-customers"),
    Asked("cohorts of a year", f"{ROOT}/cohorts"),
    Asked("cohorts of a year, CSV", f"{ROOT}/cohorts?format=csv"),
)


async def measure(setting: Setting) -> Figure:
    """Return a row per report and size."""
    figure = Figure("reports", "Partner service: reports at 10³ to 10⁵ customers")
    growth = Growth(
        f"Milliseconds at {CONNECTIONS} connections; what MongoDB examined for one answer",
        ("report", "customers", "p50", "p99", "/s", "keys", "rows", "returned"),
    )
    figure.growths.append(growth)
    async with both(setting.folder) as servers:
        for size in SIZES[: setting.sized(3, 2)]:
            began = time.monotonic()
            await _fill(servers, f"partner-{size}", size)
            figure.notes.append(f"{size:,} customers were stored and indexed in {time.monotonic() - began:.0f} s.")
            async with _service(setting, servers, f"partner-{size}") as service:
                for asked in (*REPORTS, await _prepared(service)):
                    growth.rows.append(await _measured(servers, size, asked, service))
    whats = [str(row[0]) for row in growth.rows]
    growth.rows.sort(key=lambda row: whats.index(str(row[0])))
    return figure


async def _measured(servers: Servers, size: int, asked: Asked, service: Pinned) -> tuple[str | float | None, ...]:
    (field,) = authorizations(1, STAFF, audience="partner")
    status, expected = await ask(service.port, asked.request(field))
    if status != 200:
        raise AssertionError(f"{asked.path}: {status} {expected!r}")
    counted = await examined(servers, f"partner-{size}", "standings", service, asked.request(field))

    async def run(seconds: float) -> Tally:
        requests = [asked.request(field) for field in authorizations(16, STAFF, audience="partner")]
        return await fire(service.port, requests, seconds=seconds, connections=CONNECTIONS)

    await run(0.3)
    tally = await run(SECONDS_PER_SIZE[size])
    if not tally.clean:
        raise AssertionError(f"{asked.path}: an answer was wrong or broke off")
    ordered = sorted(tally.latencies)
    milliseconds = (percentile(ordered, 0.50) * 1000, percentile(ordered, 0.99) * 1000)
    return (asked.what, size, *milliseconds, tally.per_second, *counted)


async def _prepared(service: Pinned) -> Asked:
    """Make the partner and keep a report of it; return the report's run."""
    (by_operator,) = authorizations(1, operator(), audience="partner")
    (by_staff,) = authorizations(1, STAFF, audience="partner")
    for path, body, field in (("/api/partners", PARTNER, by_operator), (f"{ROOT}/custom", SAVED, by_staff)):
        status, answer = await ask(service.port, post(path, orjson.dumps(body), field))
        if status != 201:
            raise AssertionError(f"{path}: {status} {answer!r}")
    return Asked("a saved report, run", f"{ROOT}/custom/{orjson.loads(answer)['id']}/run", saved=True)


def _service(setting: Setting, servers: Servers, database: str) -> Pinned:
    port = free_port()
    environment = servers.environment("partner", port) | {"PARTNER_MONGO_DATABASE": database}
    log = setting.folder / "partner.log"
    return Pinned(python("services.partner"), environment, log, port=port, ready_path="/readyz")


async def _fill(servers: Servers, database: str, size: int) -> None:
    """Store how customers stand as the service stores it after it has heard of them."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(servers.mongo_uri)
    async with client:
        standings = client[database].get_collection("standings", write_concern=WriteConcern(1))
        made = _customers(size)
        while batch := list(islice(made, _BATCH)):
            await standings.insert_many(batch, ordered=False)
        for index in INDEXES["standings"]:
            await standings.create_indexes([IndexModel(list(index.keys), **index.options)])


def _customers(count: int) -> Iterator[dict[str, Any]]:
    random = Random(20261128)
    for number in range(count):
        customer = _customer(number, random)
        yield {"_id": customer.id, **_document(customer)}


def _customer(number: int, random: Random) -> Customer:
    created = _NOW - timedelta(days=random.randrange(1, 720))
    cohort = f"{created:%Y-%m}"
    plan, seats = random.choice(("starter", "team", "business", "enterprise")), random.randrange(5, 200)
    status = random.choices(("active", "suspended", "deleted"), (95, 3, 2))[0]
    left = f"{_NOW:%Y-%m}" if status == "deleted" else "9999-12"
    slug = f"customer-{number:06}"
    tenant = TenantPart(
        slug=slug,
        name=f"Customer {number} Ltd",
        partner="nordic",
        status=status,  # type: ignore[arg-type]
        plan=plan,
        seats=seats,
        created_at=created,
        version=1,
        stays=(Stay("nordic", cohort, left),),
    )
    subscription = _subscription(plan, seats, cohort, random, live=status != "deleted")
    seen = (_NOW - timedelta(days=random.randrange(45))).date().isoformat()
    return Customer(
        id=f"019b7a00-0000-7000-8000-{number:012x}",
        heard_at=_NOW,
        tenant=tenant,
        usage=UsagePart(random.randrange(seats + 1), seen, 1),
        provisioning=ProvisioningPart(None, 1),
        subscription=subscription,
    )


def _subscription(plan: str, seats: int, started: str, random: Random, *, live: bool) -> SubscriptionPart:
    monthly = seats * random.randrange(300, 1_500)
    failed = _NOW - timedelta(days=random.randrange(1, 20)) if random.random() < 0.05 else None
    return SubscriptionPart(
        partner="nordic",
        plan=plan,
        cycle="month",
        currency=random.choices(("EUR", "DKK"), (80, 20))[0],
        seats=seats,
        arr=monthly * 12,
        mrr=monthly,
        status="active" if live else "canceled",
        live=live,
        payment_failed_at=failed,
        started=started,
        version=1,
    )
