"""A tenant is created only under an active partner, whatever generation of partners is current when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.tenant.models import PartnerNotActive
from services.tenant.projections.repository import PARTNERS, PartnerProjection
from shared.clock import SystemClock
from shared.contracts.partner import ContactState, ContractState, PartnerState
from shared.leases import Lease
from shared.mongo import Mongo, Transaction
from shared.projections.generations import Generations
from shared.projections.rebuild import Rebuild
from tests.integration.owners import Book, silent

NOW = SystemClock().now()


def partner(slug: str, version: int = 1, status: Any = "active") -> PartnerState:
    return PartnerState(
        id=f"id-of-{slug}",
        slug=slug,
        name=slug,
        domain=None,
        contact=ContactState(),
        contract=ContractState(starts_on="2026-01-01", term_months=12, margins=()),
        status=status,
        created_at=NOW,
        updated_at=NOW,
        version=version,
    )


@pytest.fixture
async def partners(mongo: Mongo) -> PartnerProjection:
    made = PartnerProjection(mongo)
    await made.generations.prepare(NOW)
    await mongo.db.create_collection("made")
    return made


Apply = Callable[[PartnerState], Awaitable[None]]


@pytest.fixture
def apply(mongo: Mongo, partners: PartnerProjection) -> Apply:
    async def run(state: PartnerState) -> None:
        await mongo.transactions.run(lambda tx: partners.apply(state, tx))

    return run


async def rebuilt(mongo: Mongo, *states: PartnerState, holder: str = "tests") -> None:
    generations: Generations[Any] = Generations(mongo, PARTNERS)
    await Rebuild(generations, Book(*states), Lease(mongo.db, "rebuild-partners", holder), silent).run()


async def test_a_create_from_before_a_switch_does_not_overlook_a_termination_from_after_it(
    mongo: Mongo, partners: PartnerProjection, apply: Apply
) -> None:
    await apply(partner("nordic"))
    attempts = 0

    async def create(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            assert (await partners.generations.pointer(tx)).current == 1  # from here on it sees this moment
            await rebuilt(mongo, partner("nordic"))
            await apply(partner("nordic", 2, "terminating"))
        await partners.require_active("nordic", tx)

    with pytest.raises(PartnerNotActive):
        await mongo.transactions.run(create)
    assert attempts == 2
    assert (await partners.generations.pointer()).current == 2


async def test_a_termination_from_before_a_switch_does_not_overlook_a_create_from_after_it(
    mongo: Mongo, partners: PartnerProjection, apply: Apply
) -> None:
    await apply(partner("nordic"))
    generations = partners.generations
    lease = Lease(mongo.db, "rebuild-partners", "tests")
    assert await lease.acquire()
    building = await generations.begin(lease)
    await generations.fill(lease, building, [partner("nordic")], None)
    seen: list[int] = []

    async def create(tx: Transaction) -> None:
        await partners.require_active("nordic", tx)
        await mongo.db["made"].insert_one({"partner": "nordic"}, session=tx)

    async def terminate(tx: Transaction) -> None:
        assert (await generations.pointer(tx)).newest == 2
        if not seen:
            await generations.switch(lease, building)
            await mongo.transactions.run(create)
        seen.append(await mongo.db["made"].count_documents({"partner": "nordic"}, session=tx))
        await partners.apply(partner("nordic", 2, "terminating"), tx)

    await mongo.transactions.run(terminate)
    assert seen == [0, 1]  # the answer that committed has counted the tenant
    with pytest.raises(PartnerNotActive):
        await mongo.transactions.run(create)


async def test_creates_and_terminations_race_while_generations_change(
    mongo: Mongo, partners: PartnerProjection, apply: Apply
) -> None:
    book = Book(*(partner(f"p{number:02}") for number in range(40)))
    for state in book.states:
        await apply(state)
    answered: dict[str, int] = {}

    async def create(slug: str) -> None:
        async def body(tx: Transaction) -> None:
            await partners.require_active(slug, tx)
            await asyncio.sleep(random.uniform(0, 0.02))
            await mongo.db["made"].insert_one({"partner": slug}, session=tx)

        await asyncio.sleep(random.uniform(0, 1.0))
        try:
            await mongo.transactions.run(body)
        except PartnerNotActive:
            return

    async def terminate(slug: str) -> None:
        async def body(tx: Transaction) -> int:
            await partners.apply(partner(slug, 2, "terminating"), tx)
            await asyncio.sleep(random.uniform(0, 0.02))
            return await mongo.db["made"].count_documents({"partner": slug}, session=tx)

        await asyncio.sleep(random.uniform(0, 1.0))
        # The owner's state is there before its event, so a snapshot may know it first.
        book.states = [partner(slug, 2, "terminating") if s.slug == slug else s for s in book.states]
        answered[slug] = await mongo.transactions.run(body)

    async def rebuild() -> None:
        for _ in range(4):
            lease = Lease(mongo.db, "rebuild-partners", "tests")
            await Rebuild(Generations(mongo, PARTNERS), book, lease, silent).run()

    slugs = [state.slug for state in book.states]
    creates = [create(slug) for slug in slugs for _ in range(2)]
    await asyncio.gather(*creates, *(terminate(slug) for slug in slugs), rebuild())
    assert (await partners.generations.pointer()).current == 5
    made = {slug: await mongo.db["made"].count_documents({"partner": slug}) for slug in slugs}
    assert made == answered
    assert 0 < sum(made.values()) < len(creates)


async def test_whether_a_partner_is_ending_is_read_where_creates_look(
    mongo: Mongo, partners: PartnerProjection, apply: Apply
) -> None:
    await apply(partner("nordic", 2, "terminating"))
    await rebuilt(mongo, partner("nordic", 3))
    await partners.generations.collection(1).replace_one({"_id": "nordic"}, {"version": 2, "status": "terminating"})
    assert not await mongo.transactions.run(lambda tx: partners.is_terminating("nordic", 2, tx))
    await apply(partner("nordic", 4, "terminating"))
    assert await mongo.transactions.run(lambda tx: partners.is_terminating("nordic", 4, tx))
