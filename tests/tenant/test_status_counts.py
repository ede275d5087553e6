"""Counts per status are kept up to date by the changes themselves, and always what counting every tenant would say."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from benchmarks.tenant_rows import rows
from services.tenant.models import Tenant
from services.tenant.repository import INDEXES, TenantRepository
from services.tenant.scope import EVERYTHING, Scope
from shared.clock import SystemClock
from shared.mongo import Mongo

PARTNERS = ("nordic", "fjord", None)
STATUSES = ("pending", "active", "suspended", "deleting", "deleted")


@pytest.fixture
async def repository(mongo: Mongo) -> TenantRepository:
    await mongo.ensure_indexes({"tenants": INDEXES["tenants"]})
    return TenantRepository(mongo)


async def _store(mongo: Mongo, count: int) -> None:
    """Store tenants behind the service's back."""
    await mongo.db["tenants"].insert_many(list(rows(count)))


async def _counted(mongo: Mongo, match: dict[str, Any]) -> dict[str, int]:
    """Count them all, row by row."""
    found: dict[str, int] = {}
    async for row in mongo.db["tenants"].find(match, {"status": 1}):
        found[row["status"]] = found.get(row["status"], 0) + 1
    return found


async def _assert_right(mongo: Mongo, repository: TenantRepository) -> None:
    assert await repository.count_by_status(scope=EVERYTHING) == await _counted(mongo, {})
    for partner in ("nordic", "fjord", "nobody"):
        counts = await repository.count_by_status(scope=Scope(partner=partner))
        assert counts == await _counted(mongo, {"partner": partner})


async def _change(mongo: Mongo, repository: TenantRepository, slug: str, **changes: Any) -> None:
    async def body(tx: Any) -> None:
        before = await repository.find(scope=EVERYTHING, slug=slug, tx=tx)
        assert before is not None
        await repository.save(before, replace(before, **changes, version=before.version + 1), tx)

    await mongo.transactions.run(body)


async def _insert(mongo: Mongo, repository: TenantRepository, number: int, partner: str | None) -> None:
    now = SystemClock().now()
    tenant = Tenant(
        id=f"tenant-{number}",
        slug=f"made-{number}",
        name="Made",
        plan="business",
        cycle="month",
        currency="EUR",
        seats=1,
        partner=partner,
        status="pending",
        created_at=now,
        updated_at=now,
    )
    await mongo.transactions.run(lambda tx: repository.insert(tenant, tx))


async def test_changes_beside_each_other_and_readers_between_lose_no_count(
    mongo: Mongo, repository: TenantRepository
) -> None:
    await _store(mongo, 50)
    random = Random(7)
    slugs = [row["slug"] for row in rows(50)]

    async def changing(worker: int) -> None:
        for turn in range(12):
            number = worker * 100 + turn
            await _insert(mongo, repository, number, random.choice(PARTNERS))
            mine = slugs[worker::4]  # each changes others, so that none of them is refused as stale
            await _change(
                mongo, repository, random.choice(mine), status=random.choice(STATUSES), partner=random.choice(PARTNERS)
            )

    async def reading() -> None:
        for _ in range(15):
            counts = await repository.count_by_status(scope=EVERYTHING)
            assert 50 <= sum(counts.values()) <= 50 + 4 * 12
            assert min(counts.values()) > 0

    await asyncio.gather(*(changing(worker) for worker in range(4)), reading(), reading())
    await _assert_right(mongo, repository)
    assert await mongo.db["tenant_moves"].count_documents({}) == 0


async def test_a_change_that_was_rolled_back_is_not_counted(mongo: Mongo, repository: TenantRepository) -> None:
    await _store(mongo, 10)
    await _assert_right(mongo, repository)

    async def body(tx: Any) -> None:
        before = await repository.find(scope=EVERYTHING, slug=next(rows(1))["slug"], tx=tx)
        assert before is not None
        await repository.save(before, replace(before, status="deleted", version=2), tx)
        raise LookupError

    with pytest.raises(LookupError):
        await mongo.transactions.run(body)
    await _assert_right(mongo, repository)


async def test_counts_that_an_operator_dropped_are_counted_again(mongo: Mongo, repository: TenantRepository) -> None:
    await _store(mongo, 200)
    await _assert_right(mongo, repository)
    await _change(mongo, repository, next(rows(1))["slug"], status="deleted")
    await mongo.db["tenant_counts"].drop()
    await _assert_right(mongo, repository)


async def test_counting_looks_at_no_tenant_but_those_that_the_caller_names(
    mongo: Mongo, repository: TenantRepository
) -> None:
    await _store(mongo, 200)
    await repository.count_by_status(scope=EVERYTHING)
    named = frozenset(row["slug"] for row in rows(3))
    await mongo.db.command("profile", 2)
    for scope in (EVERYTHING, Scope(partner="nordic"), Scope(partner="nordic", tenants=named), Scope()):
        await repository.count_by_status(scope=scope)
    await mongo.db.command("profile", 0)
    looked = await mongo.db["system.profile"].find({"ns": f"{mongo.db.name}.tenants"}).to_list()
    assert len(looked) == 1
    assert looked[0]["docsExamined"] <= len(named)


async def test_a_tenant_that_is_named_and_a_partner_s_counts_once(mongo: Mongo, repository: TenantRepository) -> None:
    await _store(mongo, 200)
    named = frozenset(row["slug"] for row in rows(40))
    counts = await repository.count_by_status(scope=Scope(partner="nordic", tenants=named))
    assert counts == await _counted(mongo, {"$or": [{"partner": "nordic"}, {"slug": {"$in": list(named)}}]})
