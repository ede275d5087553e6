"""What the partner service keeps of customers heals, and with it what reports say, from the owners themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.partner.consumers import TenantEvents
from services.partner.customers.repository import USAGE, CustomerRepository
from services.partner.main import derivation_of, projections_of
from services.partner.repository import AttemptRepository, PartnerRepository
from services.partner.standings.repository import StandingRepository
from services.partner.standings.service import Standings
from services.partner.terminations import Books, Terminations
from shared.auth import ServicePrincipal
from shared.clock import SystemClock
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import UsageState
from shared.leases import Lease
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.projections import commands
from shared.projections.derived import Renewal
from shared.projections.generations import Generations
from shared.projections.models import Difference
from shared.projections.rebuild import Rebuild
from shared.testing import PROCESSES, operator
from tests.integration.customers import CALLERS, PARTS, Customers
from tests.integration.owners import Book, environment_of, silent
from tests.partner.hearing import Ear, tenant, usage
from tests.support.servers import TestDatabase
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def trade(customers: Customers) -> None:
    """Let nordic have four customers of which all four projections have something to say."""
    for slug in ("acme", "beta", "cafe", "dove"):
        await customers.create(slug)
        await customers.use(slug, 6)
    await customers.fail("beta")
    await customers.fail("dove")
    await customers.give_seats("acme", 5)
    await customers.suspend("dove")
    await customers.agreed()


async def damage(customers: Customers) -> list[tuple[str, str]]:
    """Do by hand what no event does, in each of the four; return what a comparison must say of which projection."""
    ids = {slug: await customers.id_of(slug) for slug in ("acme", "beta", "cafe", "dove")}
    await (await customers.current("customers")).delete_one({"_id": ids["beta"]})
    await (await customers.current("usage")).update_one({"_id": ids["acme"]}, {"$set": {"seats_used": 1}})
    await (await customers.current("provisioning")).insert_one({"_id": "zz", "unready_since": NOW, "version": 3})
    rows = await customers.current("provisioning")
    await rows.update_one({"_id": ids["dove"]}, {"$set": {"unready_since": None, "version": 7}})
    sold = await customers.current("subscriptions")
    was = await sold.find_one({"_id": ids["cafe"]})
    await sold.update_one({"_id": ids["cafe"]}, {"$set": {"arr": 1, "version": 0}})
    return [
        ("customers", f"missing {ids['beta']}: ours None, theirs 1"),
        ("usage", f"different {ids['acme']}: ours 1, theirs 1 seats_used"),
        ("provisioning", "phantom zz: ours 3, theirs None"),
        ("provisioning", f"ahead {ids['dove']}: ours 7, theirs 1"),
        ("subscriptions", f"stale {ids['cafe']}: ours 0, theirs {was['version']}"),
    ]


def said_of(row: Difference) -> str:
    return f"{row.kind} {row.row}: ours {row.ours}, theirs {row.theirs} {' '.join(row.names)}".rstrip()


async def run(customers: Customers, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the service's program beside the running service, as `make` does."""
    environment = os.environ | environment_of("PARTNER", customers.settings)
    program = [sys.executable, "-m", "services.partner", *words]
    return await asyncio.to_thread(
        subprocess.run, program, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


async def test_damage_of_each_of_the_four_is_found_named_and_healed_and_reports_are_right_again(
    customers: Customers,
) -> None:
    await trade(customers)
    before = await customers.reports()
    assert "seats_cut" in str(before["health"])  # told by an event alone: no projection and no owner's row holds it
    named = await damage(customers)
    await customers.keeper.rebuild("standings", silent)  # as events of each would, one by one
    damaged = await customers.reports()
    assert all(damaged[name] != before[name] for name in ("health", "revenue-by-plan", "top-customers", "cohorts"))
    found = [(name, row) for name in PARTS for row in (await customers.keeper.compare(name, silent)).rows]
    assert sorted((name, said_of(row)) for name, row in found) == sorted(named)
    alone = await run(customers, "rebuild", "usage")
    assert alone.returncode == commands.OK, alone.stderr
    assert (await customers.standing())["acme"][1] == 6  # at once, whoever of command and service made it
    rebuilt = await run(customers, "rebuild")
    assert rebuilt.returncode == commands.OK, rebuilt.stderr
    said = [line for line in rebuilt.stdout.splitlines() if "switched" in line or "standings" in line]
    assert [line.split(":")[0] for line in said[:4]] == list(PARTS)
    assert await customers.reports() == before
    await customers.agreed()
    for name in PARTS:
        assert (await customers.keeper.compare(name, silent)).total == 0
    assert commands.run(["compare", "standings"], customers.keeper) == commands.NOT_UNDERSTOOD  # they have no owner


async def test_what_happens_during_the_rebuild_is_in_the_standings_afterwards(customers: Customers) -> None:
    await trade(customers)
    await damage(customers)

    async def rebuild() -> None:
        await asyncio.gather(*(customers.keeper.rebuild(name, silent) for name in PARTS))
        await customers.keeper.renew(silent)

    rebuilding = asyncio.create_task(rebuild())
    made = 0
    while not rebuilding.done():
        slug = f"live{made}"
        await asyncio.gather(
            customers.create(slug), customers.give_seats("cafe", 20 + made), customers.use("beta", made % 10)
        )
        await customers.use(slug, 3)
        made += 1
    await rebuilding
    assert made > 0
    # The backlog is as long as the rebuild took: it is asked whether everything arrives, not how fast.
    await customers.agreed(60)
    for name in PARTS:
        assert (await customers.keeper.compare(name, silent)).total == 0
    assert "seats_cut" in str((await customers.reports())["health"])


async def test_pages_of_snapshots_follow_each_other_by_the_ids_of_tenants(customers: Customers) -> None:
    slugs = ("dove", "cafe", "beta")
    for slug in slugs:  # against the alphabet, so that the order of ids is not that of slugs
        await customers.create(slug)
        await customers.use(slug, 1)
        await customers.fail(slug)
    await customers.agreed()
    ids = sorted([await customers.id_of(slug) for slug in slugs])
    caller = ServicePrincipal(name="partner")
    for owner, name in (("tenant", "usage"), ("tenant", "provisioning"), ("billing", "subscriptions")):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None and len(found) <= len(ids):
            page = await customers.ask(owner, caller, "GET", f"/internal/snapshots/{name}?limit=1{cursor}")
            found += [item["tenantId"] for item in page["items"]]
            cursor = f"&cursor={page['next']}" if page["next"] else None
        assert found == ids, name


async def test_snapshots_of_usage_and_provisioning_are_for_the_partner_service_alone(customers: Customers) -> None:
    async with httpx.AsyncClient(base_url=customers.urls["tenant"]) as http:
        for name in ("usage", "provisioning"):
            allowed = set()
            for process in PROCESSES:
                headers = CALLERS["tenant"].headers(ServicePrincipal(name=process))
                answer = await http.get(f"/internal/snapshots/{name}", headers=headers)
                allowed |= {process} if answer.status_code == 200 else set()
                assert answer.status_code in {200, 403}
            assert allowed == {"partner"}
            refused = await http.get(f"/internal/snapshots/{name}", headers=CALLERS["tenant"].headers(operator()))
            assert (refused.status_code, refused.json()["code"]) == (403, "service_only")


class Kept:
    """The partner service's projections and standings without the service: no worker looks after them."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo
        clock = SystemClock()
        self.projections = projections_of(mongo, CustomerRepository(mongo))
        self.standings = Standings(self.projections, StandingRepository(mongo), clock)
        books = Books(PartnerRepository(mongo), AttemptRepository(mongo), self.projections.customers)
        ends = Terminations(books, mongo.transactions, Outbox(mongo, "partner", clock), clock, 0)
        self.events = TenantEvents(self.projections, self.standings, ends)

    def renewal(self, holder: str = "tests", **more: Any) -> Renewal:
        made = derivation_of(self.projections, self.standings)
        return Renewal(self.mongo, made, Lease(self.mongo.db, "renew-standings", holder), **more)

    async def rebuild_usage(self, *states: UsageState) -> None:
        generations: Generations[Any] = Generations(self.mongo, USAGE)
        await Rebuild(generations, Book(*states), Lease(self.mongo.db, "rebuild-usage", "tests"), silent).run()

    async def seats_used(self) -> dict[str, int]:
        rows = self.mongo.db["standings"].find({"usage": {"$ne": None}})
        return {row["slug"]: row["usage"]["seats_used"] async for row in rows}


def used(slug: str, seats_used: int) -> UsageState:
    return UsageState(
        tenant_id=f"id-of-{slug}",
        slug=slug,
        partner="nordic",
        seats_used=seats_used,
        last_sign_in_on=None,
        version=1,
    )


@pytest.fixture
async def kept(mongo: Mongo) -> Kept:
    made = Kept(mongo)
    for generations in made.projections.generations:
        await generations.prepare(NOW)
    return made


async def test_a_handler_from_before_a_switch_does_not_put_back_what_was_renewed(kept: Kept) -> None:
    ear = Ear(kept.mongo)
    await ear.hear(tenant("acme", NOW), usage("acme", NOW, 4, None))
    await kept.mongo.db["usage"].update_one({"_id": "id-of-acme"}, {"$set": {"seats_used": 99}})
    event = CloudEvent.model_validate(tenant("acme", NOW, version=2, seats=12))
    attempts = 0

    async def handle(tx: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await kept.projections.usage.generations.pointer(tx)  # from here on it sees this moment
            await kept.rebuild_usage(used("acme", 4))
            await kept.renewal().run(silent)
        await kept.events.handle(event, tx)

    await kept.mongo.transactions.run(handle)
    assert await kept.seats_used() == {"acme": 4}
    row = await kept.mongo.db["standings"].find_one({"_id": "id-of-acme"})
    assert row is not None
    assert row["tenant"]["seats"] == 12
    assert attempts == 2


async def test_a_renewal_that_was_killed_is_gone_on_with(kept: Kept, database: TestDatabase) -> None:
    slugs = [f"t{number}" for number in range(5)]
    await Ear(kept.mongo).hear(*(tenant(s, NOW) for s in slugs), *(usage(s, NOW, 4, None) for s in slugs))
    environment = {"MONGO_URI": database.uri, "MONGO_DATABASE": database.name}
    await kept.rebuild_usage(*(used(slug, 5) for slug in slugs))
    command = [sys.executable, "-m", "tests.integration.processes.renewal"]
    died = await asyncio.to_thread(subprocess.run, command, env=os.environ | environment, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert sorted((await kept.seats_used()).values()) == [4, 4, 4, 5, 5]
    assert await kept.renewal().due()
    said: list[str] = []
    await kept.renewal("another").run(said.append)
    assert said == ["standings: going on after 2", "standings: 5 looked at, 5 renewed"]
    assert await kept.seats_used() == dict.fromkeys(slugs, 5)
    assert not await kept.renewal().due()


async def test_a_row_that_events_hold_stops_neither_the_rows_before_it_nor_the_renewal(kept: Kept) -> None:
    slugs = [f"t{number}" for number in range(5)]
    await Ear(kept.mongo).hear(*(tenant(s, NOW) for s in slugs), *(usage(s, NOW, 4, None) for s in slugs))
    await kept.rebuild_usage(*(used(slug, 5) for slug in slugs))
    async with kept.mongo.client.start_session() as held, await held.start_transaction():
        await kept.mongo.db["standings"].update_one({"_id": "id-of-t2"}, {"$set": {"lap": 0}}, session=held)
        renewing = asyncio.create_task(kept.renewal().run(silent))

        async def before_it() -> bool:
            return (await kept.seats_used()).get("t1") == 5

        await eventually(before_it)
        assert await kept.seats_used() == {"t0": 5, "t1": 5, "t2": 4, "t3": 4, "t4": 4}
        await held.abort_transaction()
    await renewing
    assert await kept.seats_used() == dict.fromkeys(slugs, 5)


async def test_what_a_left_renewal_had_made_of_older_generations_is_made_again(kept: Kept) -> None:
    slugs = [f"t{number}" for number in range(4)]
    await Ear(kept.mongo).hear(*(tenant(s, NOW) for s in slugs), *(usage(s, NOW, 4, None) for s in slugs))
    await kept.rebuild_usage(*(used(slug, 5) for slug in slugs))

    class Left(Exception):
        pass

    class Leaving(Renewal):
        async def _walk(self, lap: Any) -> Any:
            await self._step(lap, ["id-of-t0", "id-of-t1"])
            raise Left

    leaving = Leaving(kept.mongo, derivation_of(kept.projections, kept.standings), kept.renewal()._lease)
    with pytest.raises(Left):
        await leaving.run(silent)
    await kept.rebuild_usage(*(used(slug, 6) for slug in slugs))
    said: list[str] = []
    await kept.renewal(patience=timedelta(0)).run(said.append)
    assert said == ["standings: 4 looked at, 4 renewed"]
    assert await kept.seats_used() == dict.fromkeys(slugs, 6)
