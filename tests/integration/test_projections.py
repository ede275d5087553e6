"""Projections heal: what differs from its owner is found and named, and a new generation replaces it, live."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.health.main import build as build_health
from services.health.settings import HealthSettings
from shared.auth import ServicePrincipal
from shared.leases import Lease
from shared.mongo import Mongo
from shared.projections import commands
from shared.projections.generations import FRESH_SECONDS, GRACE, Generations
from shared.projections.keeper import Keeper
from shared.projections.models import Building, Pointer
from shared.projections.rebuild import RebuildUnderWay
from shared.projections.snapshots import OwnerAway
from shared.testing import PROCESSES, Callers, operator
from tests.integration.owners import TENANT, World, environment_of, silent
from tests.support.servers import LiveServer
from tests.support.waiting import eventually


async def damage(world: World) -> None:
    """Do by hand what no event does, one row of each kind."""
    rows = world.generations.collection(2)
    await rows.delete_one({"_id": "t0000"})
    await rows.insert_one({"_id": "t0199x", "tenant_id": "?", "plan": "p", "deleted": False, "version": 4})
    await rows.update_one({"_id": "t0200"}, {"$set": {"version": 0}})
    await rows.update_one({"_id": "t0300"}, {"$set": {"version": 9}})
    await rows.update_one({"_id": "t0400"}, {"$set": {"plan": "enterprise"}})


DAMAGE = [
    ("missing", "t0000", None, 1, ()),
    ("phantom", "t0199x", 4, None, ()),
    ("stale", "t0200", 0, 1, ()),
    ("ahead", "t0300", 9, 1, ()),
    ("different", "t0400", 1, 1, ("plan",)),
]


async def test_each_kind_of_damage_is_found_named_shown_and_healed(world: World, service_environment: Any) -> None:
    await world.fill_owner(450)
    await world.rebuild().run()
    assert await world.agrees()
    keeper = world.keeper()
    world.platform.bus.start()
    await world.platform.bus.wait_connected()
    assert (await keeper.compare("tenants", silent)).total == 0
    await damage(world)
    found = await keeper.compare("tenants", silent)
    assert sorted((d.kind, d.row, d.ours, d.theirs, d.names) for d in found.rows) == sorted(DAMAGE)
    assert dict(found.counts) == {"missing": 1, "phantom": 1, "stale": 1, "ahead": 1, "different": 1}
    asked = ServicePrincipal(name="health")
    health = HealthSettings(**service_environment("health", services={"flags": world.flags.url}))
    async with httpx.AsyncClient() as http, LiveServer(build_health(health), health.port) as server:
        headers = Callers("flags").headers(asked)
        (item,) = (await http.get(f"{world.flags.url}/internal/projections", headers=headers)).json()["items"]
        assert (item["name"], item["owner"], item["generation"], sum(item["differences"].values())) == (
            "tenants",
            "tenant",
            2,
            5,
        )
        assert await shown(http, server.url) == ("warn", "flags: 5 rows of tenants differ from tenant")
    await world.rebuild().run()
    assert await world.agrees()
    assert (await world.generations.standing()).findings.total == 0
    assert (await keeper.compare("tenants", silent)).total == 0


async def shown(http: httpx.AsyncClient, url: str) -> tuple[str, str]:
    """Return status and words of the platform's component ``projections``."""
    headers = Callers("health").headers(operator())

    async def look() -> Any:
        body = (await http.get(f"{url}/api/health/platform", headers=headers)).json()
        return next((probe for probe in body.get("probes", []) if probe["name"] == "projections"), None)

    probe = await eventually(look)
    return probe["status"], probe["message"]


class Late(Generations[Any]):
    """Lets a tenant be made, and heard of, after the last comparison and before the switch."""

    def __init__(self, world: World) -> None:
        super().__init__(world.mongo, world.generations.spec)
        self._world = world

    async def switch(self, lease: Lease, building: Building) -> Pointer:
        await self._world.create("late")
        current = self.collection((await self.pointer()).current)
        await eventually(lambda: current.find_one({"_id": "late"}))
        return await super().switch(lease, building)


async def test_what_happens_during_a_rebuild_is_in_the_new_generation_and_reads_are_full(world: World) -> None:
    await world.fill_owner(450)
    await world.rebuild().run()
    counts: list[int] = []

    async def read() -> None:
        while True:
            counts.append(await world.tenants.count_across_tenants())
            await asyncio.sleep(0.005)

    reading = asyncio.create_task(read())
    slow = world.from_owner(rows_per_second=900)
    rebuilding = asyncio.create_task(world.rebuild(owner=slow, generations=Late(world)).run())
    made = 0
    while not rebuilding.done():
        # Before and behind the page that is being read, and onto rows that are there.
        await asyncio.gather(
            *(world.create(f"{place}{made}") for place in ("aa-", "t0200-", "zz-")), world.suspend(f"t{made:04}")
        )
        made += 1
    await rebuilding
    assert made > 0
    assert (await world.generations.pointer()).current == 3
    known = 451 + 3 * made + 1

    async def all_read() -> bool:
        return counts[-1] == known

    with suppress(AssertionError):
        await eventually(all_read, seconds=10)
    reading.cancel()
    assert (counts[0], min(counts), counts[-1]) == (451, 451, known)
    await world.agreed()


DEATHS = ("reserved", "created", "page", "compared", "switched")


async def test_killed_at_any_step_and_started_again_it_converges(world: World) -> None:
    await world.fill_owner(450)
    generation = 1
    for death in DEATHS:
        environment = {
            "DIE_AT": death,
            "MONGO_URI": world.settings.mongo_uri.get_secret_value(),
            "MONGO_DATABASE": world.settings.mongo_database,
            "OWNER": world.owner.url,
        }
        command = [sys.executable, "-m", "tests.integration.processes.rebuild"]
        died = await asyncio.to_thread(subprocess.run, command, env=os.environ | environment, check=False, timeout=60)
        assert died.returncode == -signal.SIGKILL, death
        pointer = await world.generations.pointer()
        assert pointer.current == (generation if death != "switched" else generation + 1), death
        assert death == "switched" or (pointer.building is not None and pointer.building.generation == generation + 1)
        world.said.clear()
        await world.rebuild(holder=death).run()
        assert any("going on after 200 rows" in text for text in world.said) == (death == "page")
        generation = (await world.generations.pointer()).current
        assert await world.agrees(), death
    assert generation == len(DEATHS) + 2  # the one that died after its switch had been one of its own


async def test_while_the_owner_is_away_nothing_is_switched_and_a_second_rebuild_is_refused(
    world: World, service_environment: Any
) -> None:
    await world.create("acme")
    await world.agreed()
    await world.owner.__aexit__()
    # It waits for longer than its lease lasts.
    first = world.rebuild("first", ttl=timedelta(seconds=0.5), renew_every=timedelta(seconds=0.1))
    waiting = asyncio.create_task(first.run())

    async def said() -> bool:
        return any("tenant is away" in text and "trying again" in text for text in world.said)

    await eventually(said)
    with pytest.raises(RebuildUnderWay):
        await world.rebuild("second", patience=timedelta(seconds=1.2)).run()
    assert (await world.generations.pointer()).current == 1
    assert await world.tenants.count_across_tenants() == 1
    async with world.owner_again() as again:
        await waiting
        assert (await world.generations.pointer()).current == 2
        assert await world.agrees()
        gone = world.from_owner(patience=timedelta(0))
        await again.__aexit__()
        with pytest.raises(OwnerAway):
            await world.rebuild(owner=gone).run()
        assert (await world.generations.pointer()).current == 2


async def sweep(keeper: Keeper) -> None:
    await eventually(lambda: keeper.sweep(keeper.projections["tenants"]))


async def test_old_generations_go_when_nobody_can_read_or_write_them(world: World) -> None:
    await world.create("acme")
    await eventually(world.agrees)
    await world.rebuild().run()
    await sweep(world.keeper())
    assert (await world.generations.pointer()).written == (2, 1)
    await world.suspend("acme")

    async def both() -> bool:
        return [(await world.rows(n))[0]["version"] for n in (1, 2)] == [2, 2]

    await eventually(both)
    await world.mongo.db["tenants_0x"].insert_one({"_id": "somebody else's"})
    keeper = world.keeper(grace=timedelta(0))
    await sweep(keeper)
    pointer = await world.generations.pointer()
    assert (pointer.written, pointer.dropping) == ((2,), (1,))
    assert await world.rows(1)
    await sweep(keeper)
    assert (await world.generations.pointer()).known == {2}
    await world.mongo.db["tenants"].insert_one({"_id": "by a process that slept"})
    await sweep(keeper)
    names = {name for name in await world.mongo.db.list_collection_names() if name.startswith("tenants")}
    assert names == {"tenants_2", "tenants_0x"}
    assert await world.agrees()


async def test_the_server_ends_a_transaction_before_a_generation_is_no_longer_written(mongo: Mongo) -> None:
    limit = await mongo.client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)
    assert GRACE.total_seconds() > limit["transactionLifetimeLimitSeconds"] + FRESH_SECONDS


async def test_a_snapshot_is_for_those_who_follow_and_for_nobody_else(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.owner.url) as http:
        allowed = set()
        for name in PROCESSES:
            headers = TENANT.headers(ServicePrincipal(name=name))
            status = (await http.get("/internal/snapshots/tenants", headers=headers)).status_code
            allowed |= {name} if status == 200 else set()
            assert status in {200, 403}
        assert allowed == {"partner", "billing", "flags"}
        refused = await http.get("/internal/snapshots/tenants", headers=TENANT.headers(operator()))
        assert (refused.status_code, refused.json()["code"]) == (403, "service_only")


async def test_the_command_rebuilds_and_compares_beside_the_running_service(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.fill_owner(10)
    own = os.environ | environment_of("FLAGS", world.settings)

    async def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "services.flags", *words]
        return await asyncio.to_thread(
            subprocess.run, program, env=own, capture_output=True, text=True, timeout=60, check=False
        )

    compared = await command("compare")
    assert compared.returncode == commands.FAILED
    assert "tenants: 10 missing of what differs from tenant" in compared.stdout
    assert "\n  missing t0009: ours None, theirs 1\n" in compared.stdout
    rebuilt = await command("rebuild", "tenants")
    assert rebuilt.returncode == commands.OK, rebuilt.stderr
    assert "tenants: switched to generation 2: 11 rows" in rebuilt.stdout
    assert await world.agrees()
    assert commands.run(["rebuild", "prices"], world.keeper()) == commands.NOT_UNDERSTOOD
    assert capsys.readouterr().err == "write: rebuild|compare [tenants]\n"
