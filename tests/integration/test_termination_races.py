"""A tenant created in the same instant as its partner's termination, and what a crash leaves of a move."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from services.tenant.models import PartnerNotActive
from services.tenant.terminations import BATCH
from shared.mongo import Mongo
from tests.integration.tenant_side import TenantSide, partner_event


@pytest.fixture
async def side(mongo: Mongo) -> TenantSide:
    made = TenantSide.over(mongo)
    await made.prepare()
    return made


async def race(side: TenantSide, slug: str, seed: int) -> str:
    """Create a tenant of a partner while its termination is learned; return how it came out.

    Both start from the same line, one of them up to a few milliseconds later: over many races each is first at
    times, and at times they meet inside their transactions.
    """
    chance = random.Random(seed)
    await side.hear(partner_event(slug, 1, "active"))
    delays = [chance.random() * 0.004, 0.0]
    if chance.random() < 0.5:
        delays.reverse()

    async def later(seconds: float, act: Any) -> None:
        await asyncio.sleep(seconds)
        await act

    creating = later(delays[0], side.create(slug, f"t-{slug}"))
    ending = later(delays[1], side.hear(partner_event(slug, 2, "terminating")))
    created, heard = await asyncio.gather(creating, ending, return_exceptions=True)
    assert heard is None, heard
    if created is None:
        return "created"
    assert isinstance(created, PartnerNotActive), created
    return "refused"


async def races(side: TenantSide, count: int, seed: int) -> Counter[str]:
    """Run races, four at a time, and check from the database that no answer was ever wrong."""
    slugs = [f"p{number:04}" for number in range(count)]
    outcomes: list[str] = []
    for start in range(0, count, 4):
        some = slugs[start : start + 4]
        outcomes += await asyncio.gather(*(race(side, slug, seed + start + i) for i, slug in enumerate(some)))
    answers = await side.answers()
    owned = Counter([row["partner"] async for row in side.mongo.db["tenants"].find({}, {"partner": 1})])
    for slug, outcome in zip(slugs, outcomes, strict=True):
        assert answers[slug, 2] == [owned[slug]], f"{slug}: {outcome}, owns {owned[slug]}, answered {answers[slug, 2]}"
        assert owned[slug] == (1 if outcome == "created" else 0), slug
    return Counter(outcomes)


async def test_a_tenant_created_as_its_partner_ends_is_either_counted_or_refused(side: TenantSide) -> None:
    outcomes = await races(side, 100, seed=0)
    # A race that always has the same winner would show nothing.
    assert min(outcomes["created"], outcomes["refused"]) >= 10, outcomes


@pytest.mark.torture
async def test_a_thousand_races_leave_no_tenant_under_a_terminated_partner(side: TenantSide) -> None:
    outcomes = await races(side, 1_000, seed=1_000)
    assert min(outcomes["created"], outcomes["refused"]) >= 100, outcomes


async def test_said_twice_it_is_answered_alike_and_what_is_over_is_not_answered(side: TenantSide) -> None:
    await side.hear(partner_event("nordic", 1, "active"))
    await side.own("nordic", 2)
    started = partner_event("nordic", 2, "terminating")
    await side.hear(started)
    await side.hear(started.model_copy(update={"id": "another"}))
    assert await side.answers() == {("nordic", 2): [2, 2]}
    await side.hear(partner_event("nordic", 3, "active", kind="termination_refused"))
    await side.hear(started.model_copy(update={"id": "late"}))
    assert await side.answers() == {("nordic", 2): [2, 2]}


async def test_a_move_is_made_in_batches_and_another_replica_goes_on_where_one_stopped(side: TenantSide) -> None:
    for slug in ("nordic", "fjord"):
        await side.hear(partner_event(slug, 1, "active"))
    await side.own("nordic", 2 * BATCH + 7)
    await side.hear(partner_event("nordic", 2, "terminating", to="fjord"))
    seen = []
    while await TenantSide.over(side.mongo).ends.move_some():
        seen.append(await side.count("fjord"))
    assert seen == [BATCH, 2 * BATCH, 2 * BATCH + 7]
    assert await side.answers() == {("nordic", 2): [0]}
    moved = await side.mongo.db["outbox"].distinct("aggregate", {"type": "tenant.transferred.v1"})
    assert len(moved) == 2 * BATCH + 7


async def test_a_batch_that_cannot_be_told_of_is_not_made(side: TenantSide) -> None:
    for slug in ("nordic", "fjord"):
        await side.hear(partner_event(slug, 1, "active"))
    await side.own("nordic", 3)
    await side.hear(partner_event("nordic", 2, "terminating", to="fjord"))
    await side.mongo.db["outbox"].insert_one({"_id": "so that it exists"})
    await side.mongo.db.command("collMod", "outbox", validator={"type": {"$ne": "tenant.partner_answered.v1"}})
    with pytest.raises(Exception, match="Document failed validation"):
        await side.ends.move_some()
    assert (await side.count("nordic"), await side.count("fjord")) == (3, 0)
    await side.mongo.db.command("collMod", "outbox", validator={})
    assert await side.ends.move_some()
    assert (await side.count("nordic"), await side.answers()) == (0, {("nordic", 2): [0]})


async def test_two_replicas_that_move_at_once_move_nothing_twice(side: TenantSide) -> None:
    for slug in ("nordic", "fjord"):
        await side.hear(partner_event(slug, 1, "active"))
    await side.own("nordic", BATCH + 5)
    await side.hear(partner_event("nordic", 2, "terminating", to="fjord"))
    replicas = [TenantSide.over(side.mongo) for _ in range(3)]
    for _ in range(3):
        await asyncio.gather(*(replica.ends.move_some() for replica in replicas))
    assert (await side.count("nordic"), await side.answers()) == (0, {("nordic", 2): [0]})
    assert await side.mongo.db["outbox"].count_documents({"type": "tenant.transferred.v1"}) == BATCH + 5


async def test_a_target_that_ceases_to_be_active_ends_the_move_and_the_answer_names_the_rest(side: TenantSide) -> None:
    for slug in ("nordic", "fjord"):
        await side.hear(partner_event(slug, 1, "active"))
    await side.own("nordic", BATCH + 5)
    await side.hear(partner_event("nordic", 2, "terminating", to="fjord"))
    assert await side.ends.move_some()
    await side.hear(partner_event("fjord", 2, "suspended"))
    assert await side.ends.move_some()
    assert not await side.ends.move_some()
    assert (await side.count("nordic"), await side.count("fjord")) == (5, BATCH)
    assert await side.answers() == {("nordic", 2): [5]}


async def test_two_partners_that_end_into_each_other_lose_nobody(side: TenantSide) -> None:
    for slug in ("nordic", "fjord"):
        await side.hear(partner_event(slug, 1, "active"))
        await side.own(slug, 3)
    await side.hear(partner_event("nordic", 2, "terminating", to="fjord"))
    await side.hear(partner_event("fjord", 2, "terminating", to="nordic"))
    while await side.ends.move_some():
        pass
    assert await side.answers() == {("nordic", 2): [3], ("fjord", 2): [3]}
    assert (await side.count("nordic"), await side.count("fjord")) == (3, 3)
