"""What MongoDB looks at for a page: as much as it returns for one filter, and a bounded part of the log for several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from services.audit.chain import Appended
from services.audit.models import Query
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.service import AuditService
from shared.mongo import Database, Mongo
from tests.audit.events import encode, refused, suspended, tenant_event

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
OTTO = "operator@dezky.local"
# The five oldest are rare in everything, so that walking the log backwards for them would look at all of it.
RARE = [
    *(suspended(n, slug="globex", partner="fjord", time="2026-11-01T00:00:00Z") for n in (1, 2, 3)),
    *(refused(n, id=f"refused-{n}", time="2026-12-01T00:00:00Z") for n in (4, 5)),
]
PLENTY = 400
BOUND = 50

Case = tuple[Query, str | None, list[int]]
ONE_FILTER: list[Case] = [
    (Query(action="tenant.suspended"), None, [3, 2, 1]),
    (Query(action="gateway.*"), None, [5, 4]),
    (Query(tenant="globex"), None, [3, 2, 1]),
    (Query(partner="fjord"), None, [3, 2, 1]),
    (Query(outcome="denied"), None, [5, 4]),
    (Query(source="gateway"), None, [5, 4]),
    (Query(), OTTO, [3, 2, 1]),
    (Query(below=6), None, [5, 4, 3, 2, 1]),
    (Query(tenant="globex", action="tenant.*"), None, [3, 2, 1]),
    (Query(partner="fjord", action="tenant.suspended"), None, [3, 2, 1]),
    (Query(tenant="acme", action="tenant.suspended"), None, []),
    (Query(partner="nordic", action="tenant.suspended"), None, []),
]
SHORT_TIMES: list[Case] = [
    (Query(until="2026-11-02T00:00:00.000Z"), None, [3, 2, 1]),
    (Query(since="2026-11-30T00:00:00.000Z"), None, [5, 4]),
    (Query(since="2026-10-01T00:00:00.000Z", until="2026-11-02T00:00:00.000Z"), None, [3, 2, 1]),
]
# Each needs more than its index says; most find nothing in the newest entries.
SEVERAL: list[Query] = [
    Query(text="globex"),
    Query(tenant="acme", outcome="denied"),
    Query(tenant="acme", source="gateway"),
    Query(partner="nordic", text="globex"),
    Query(tenant="acme", until="2026-11-02T00:00:00.000Z"),
    Query(action="tenant.*", outcome="denied"),
    Query(tenant="acme", partner="fjord"),
    Query(tenant="acme", partner_or_none="fjord"),
    Query(since="2026-10-01T00:00:00.000Z", until="2026-11-30T00:00:00.000Z"),
]


@pytest.fixture
async def log(chain: Chain, audit_mongo: Mongo, vault: Vault) -> AuditService:
    await chain(encode(*RARE, *(tenant_event(number) for number in range(6, PLENTY + 1))))
    return AuditService(AuditRepository(audit_mongo.db, page_scan=BOUND), vault)


async def examined(db: Database, log: AuditService, query: Query, email: str | None = None) -> tuple[Any, int, int]:
    """The numbers on the first page of ten, and how many keys and entries MongoDB looked at for it."""
    query = await log.of_actor(query, email)
    await db["system.profile"].drop()
    await db.command("profile", 2)
    try:
        entries, _ = await log.read(query, None, 10)
    finally:
        await db.command("profile", 0)
    profiled = await db["system.profile"].find({"ns": f"{db.name}.entries"}).to_list()
    keys, documents = (sum(row[name] for row in profiled) for name in ("keysExamined", "docsExamined"))
    return [entry["seq"] for entry in entries], keys, documents


async def test_one_filter_costs_what_it_returns(log: AuditService, root_db: Database) -> None:
    for query, email, expected in ONE_FILTER:
        found, keys, documents = await examined(root_db, log, query, email)
        assert (query, email, found) == (query, email, expected)
        assert (query, documents) == (query, len(expected))
        assert (query, keys <= len(expected) + 1) == (query, True)


async def test_a_short_time_costs_twice_its_keys_and_once_its_entries(log: AuditService, root_db: Database) -> None:
    for query, email, expected in SHORT_TIMES:
        found, keys, documents = await examined(root_db, log, query, email)
        assert (query, found) == (query, expected)
        assert (query, documents) == (query, len(expected))
        assert (query, keys <= 2 * len(expected) + 2) == (query, True)


async def test_several_filters_look_at_a_bounded_part_of_the_log(log: AuditService, root_db: Database) -> None:
    for query in SEVERAL:
        found, keys, documents = await examined(root_db, log, query)
        # The keys are walked to find the bound, and again to look at what is within it.
        assert (query, keys <= 3 * BOUND + 3, documents <= BOUND) == (query, True, True), (keys, documents)
        assert len(found) <= 10
