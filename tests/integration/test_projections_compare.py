"""What a comparison calls a difference, and what it knows to be an event on its way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.tenant.projections.repository import PRICES
from shared.contracts.billing import PriceState
from shared.leases import Lease, LeaseLost
from shared.mongo import Mongo
from shared.projections.compare import Comparison, ConsumerBehind
from shared.projections.generations import Generations
from shared.projections.keeper import Keeper, latest_at
from shared.projections.models import Difference, ProjectionSpec, still_there
from shared.projections.rebuild import Rebuild, RebuildDiffers
from shared.testing import ManualClock
from tests.integration.owners import SOON, Book, World, silent

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def price(number: int, version: int = 1, **changes: Any) -> PriceState:
    known = {"id": f"p{number:04}", "plan": "business", "cycle": "month", "amounts": {"EUR": 900}, "archived": False}
    return PriceState.model_validate({**known, "created_at": NOW, "updated_at": NOW, "version": version, **changes})


class Shop:
    """The projection of prices, and an owner whose snapshot the test writes."""

    def __init__(self, mongo: Mongo, *states: PriceState, spec: ProjectionSpec[PriceState] = PRICES) -> None:
        self.mongo = mongo
        self.book = Book(*states)
        self.generations: Generations[PriceState] = Generations(mongo, spec)
        self.rows = mongo.db["prices"]

    async def hear(self, *states: PriceState) -> None:
        for state in states:
            await self.mongo.transactions.run(lambda tx, state=state: self.generations.apply(state, tx))

    async def compare(self, *meanwhile: Any, patience: timedelta = timedelta(seconds=5)) -> list[Difference]:
        """Compare; after the first look the consumer is behind until it has done what happens ``meanwhile``."""
        left = list(meanwhile)

        async def behind() -> int:
            if left:
                await left.pop()()
                return 1
            return 0

        async def hold() -> None: ...

        comparison = Comparison(self.generations, self.book, behind, silent, SOON, patience)
        return list((await comparison.run(1, hold)).rows)


async def test_a_row_that_its_event_brings_during_the_comparison_is_no_difference(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1), price(2, 2))
    await shop.hear(price(2))

    async def events() -> None:
        await shop.hear(price(1), price(2, 2))

    assert await shop.compare(events) == []


async def test_a_row_that_follows_a_busy_price_is_no_difference_and_one_that_stopped_is(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1, 6), price(2, 6))
    await shop.hear(price(1, 5), price(2, 5))

    async def events() -> None:
        shop.book.states = [price(1, 9), price(2, 9)]
        await shop.hear(price(1, 8))

    assert await shop.compare(events) == [Difference("stale", "p0002", 5, 9)]


async def test_what_the_owner_makes_between_its_page_and_our_look_is_no_phantom(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.hear(price(1), price(2))

    async def events() -> None:
        shop.book.states.append(price(2))

    assert await shop.compare(events) == []


async def test_a_row_without_a_place_in_the_order_is_a_phantom(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.hear(price(1))
    await shop.rows.insert_one({"_id": 7, "version": 1})
    assert await shop.compare() == [Difference("phantom", "7", 1)]


async def test_what_this_service_counts_in_a_row_is_its_own_affair(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.hear(price(1))
    await shop.rows.update_one({"_id": "p0001"}, {"$set": {"tenants_made": 3}})
    assert await shop.compare() == []
    await shop.rows.update_one({"_id": "p0001"}, {"$set": {"plan": "starter"}, "$unset": {"archived": ""}})
    assert await shop.compare() == [Difference("different", "p0001", 1, 1, ("archived", "plan"))]


async def test_a_second_row_under_one_key_is_a_phantom(mongo: Mongo) -> None:
    by_plan = replace(PRICES, name="by_plan", order_by="plan")
    shop = Shop(mongo, price(1, plan="a"), price(2, plan="b"), spec=by_plan)
    await shop.hear(price(1, plan="a"), price(2, plan="b"), price(3, plan="b"))
    assert await shop.compare() == [Difference("phantom", "p0003", 1)]


async def test_a_page_of_the_snapshot_does_not_take_back_what_an_event_brought(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.generations.prepare(NOW)
    lease = Lease(mongo.db, "rebuild-prices", "tests")
    assert await lease.acquire()
    building = await shop.generations.begin(lease)
    await shop.hear(price(1, 3))
    await shop.generations.fill(lease, building, [price(1, 2), price(2, 1)], None)
    versions = {row["_id"]: row["version"] async for row in mongo.db["prices_2"].find()}
    assert versions == {"p0001": 3, "p0002": 1}


async def test_a_rebuild_that_slept_while_another_took_over_moves_nothing(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.generations.prepare(NOW)
    asleep = Lease(mongo.db, "rebuild-prices", "asleep", timedelta(0))
    assert await asleep.acquire()
    building = await shop.generations.begin(asleep)
    successor = Lease(mongo.db, "rebuild-prices", "successor")
    assert await successor.acquire()
    with pytest.raises(LeaseLost):
        await shop.generations.switch(asleep, building)
    assert (await shop.generations.pointer()).current == 1
    await Rebuild(shop.generations, shop.book, successor, silent).run()
    assert (await shop.generations.pointer()).current == 2


async def test_nothing_is_said_while_the_consumer_does_not_catch_up(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))

    async def nothing() -> None: ...

    with pytest.raises(ConsumerBehind, match="tenant-prices is 1 events behind"):
        await shop.compare(*[nothing] * 5, patience=timedelta(0))


async def test_a_comparison_remembers_a_thousand_rows_and_keeps_fifty(mongo: Mongo) -> None:
    shop = Shop(mongo, *(price(number) for number in range(1_100)))

    async def hold() -> None: ...

    async def behind() -> int:
        return 0

    found = await Comparison(shop.generations, shop.book, behind, silent, SOON).run(1, hold)
    assert (dict(found.counts), len(found.rows), found.more) == ({"missing": 1_000}, 50, True)


async def test_a_generation_that_does_not_agree_is_not_switched_to(mongo: Mongo) -> None:
    shop = Shop(mongo, price(1))
    await shop.generations.prepare(NOW)
    lease = Lease(mongo.db, "rebuild-prices", "tests")
    assert await lease.acquire()
    building = await shop.generations.begin(lease)
    await shop.hear(price(1), price(2))  # an event of what the owner does not have
    with pytest.raises(RebuildDiffers, match="1 phantom"):
        await Rebuild(shop.generations, shop.book, lease, silent).run()
    pointer = await shop.generations.pointer()
    assert (pointer.current, pointer.building, pointer.dropping) == (1, None, (building.generation,))


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (Difference("missing", "a", None, 1), Difference("missing", "a", None, 3), True),
        (Difference("missing", "a", None, 1), Difference("stale", "a", 1, 3), False),
        (Difference("stale", "a", 4, 5), Difference("stale", "a", 4, 5), True),
        (Difference("stale", "a", 4, 5), Difference("stale", "a", 5, 6), False),
        (Difference("ahead", "a", 9, 5), Difference("ahead", "a", 9, 6), True),
        (Difference("phantom", "a", 1), Difference("different", "a", 1, 1, ("plan",)), False),
        (Difference("different", "a", 1, 1, ("plan",)), Difference("different", "a", 2, 2, ("plan",)), True),
    ],
)
def test_a_difference_counts_if_the_second_look_finds_it_again(
    first: Difference, second: Difference, counts: bool
) -> None:
    assert still_there(first, second) is counts


@pytest.mark.parametrize(
    ("hour", "now", "latest"),
    [
        (3, datetime(2026, 11, 22, 3, 0, tzinfo=UTC), datetime(2026, 11, 22, 3, tzinfo=UTC)),
        (3, datetime(2026, 11, 22, 2, 59, 59, tzinfo=UTC), datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (0, datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (23, datetime(2026, 3, 1, 1, tzinfo=UTC), datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ],
)
def test_the_hour_was_last_reached(hour: int, now: datetime, latest: datetime) -> None:
    assert latest_at(hour, now) == latest


async def test_once_a_day_from_the_hour_on_also_after_a_pause_the_projection_is_compared(world: World) -> None:
    await world.create("acme")
    await world.agreed()
    clock = ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    pointers = world.mongo.db["projections"]
    await pointers.update_one({}, {"$set": {"compared_at": datetime(2026, 11, 21, 3, tzinfo=UTC)}})
    rows = world.mongo.db["tenants"]
    await rows.update_one({"_id": "acme"}, {"$set": {"plan": "starter"}})
    keepers = [world.keeper(clock), world.keeper(clock)]

    async def tend() -> int:
        for keeper in keepers:
            await keeper.tend(keeper.projections["tenants"])
        return (await world.generations.standing()).findings.total

    assert await tend() == 0  # at two it is too early
    clock.advance(timedelta(hours=1))
    assert await tend() == 1
    assert gauge() == 1
    await rows.update_one({"_id": "acme"}, {"$set": {"plan": "business"}})
    assert await tend() == 1  # today has been done
    clock.advance(timedelta(days=3, hours=20))  # away over two nights and more
    assert await tend() == 0
    assert gauge() == 0
    assert (await world.generations.standing()).compared_at == clock.now()


async def test_a_comparison_that_cannot_end_is_shown_and_tried_again(world: World) -> None:
    await world.create("acme")
    await world.agreed()
    keeper: Keeper = world.keeper(ManualClock(datetime(2026, 11, 22, 4, tzinfo=UTC)))
    await world.mongo.db["projections"].update_one({}, {"$set": {"compared_at": datetime(2026, 11, 21, tzinfo=UTC)}})
    await world.mongo.db["tenants"].delete_one({"_id": "acme"})
    await world.platform.bus.close()
    for _ in range(2):
        await keeper.tend(keeper.projections["tenants"])
    standing = await world.generations.standing()
    assert standing.findings.trouble == "NATS is away"
    assert standing.compared_at == datetime(2026, 11, 21, tzinfo=UTC)


def gauge() -> float | None:
    labels = {"service": "flags", "projection": "tenants", "kind": "different"}
    return REGISTRY.get_sample_value("dezky_projection_differences", labels)
