"""Tenants created, changed, suspended and deleted at random, while integrations fail and the service is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from infrastructure.local.servers.nats import NatsServer
from shared.mongo import Mongo
from shared.topology import Topology
from tests.support.waiting import eventually
from tests.tenant.suite import Suite, World, suite
from tests.torture.events import Told, told
from tests.torture.held import differences
from tests.torture.kept import keep
from tests.torture.lives import Caller, Expected, Habits, Life
from tests.torture.stand import FAULTS, Service, Weather

__all__ = ["suite"]
GUESTS = tuple(f"guest-{number}@agency.example" for number in range(6))
SEED = int(os.environ.get("TORTURE_SEED") or 0)
RESYNC_SECONDS = 10
HABITS = Habits()


@dataclass
class Torture:
    """A service to be tormented; ``bound`` is within how many seconds of good weather everything must agree."""

    service: Service
    suite: Suite
    mongo: Mongo
    seed: int
    bound: float
    say: Callable[[str], None]

    async def run(
        self, lives: int, kills: int, at_once: int, habits: Habits = HABITS
    ) -> tuple[list[Expected], dict[str, Any]]:
        """Let tenants live; return what is expected of them, and figures."""
        random, said = Random(self.seed), Counter[str]()
        weather = Weather(self.suite, random)
        before, began = weather.requests(), time.monotonic()
        done: list[Life] = []
        async with httpx.AsyncClient(base_url=self.service.url, timeout=20) as http:
            caller, slots = Caller(http, said), asyncio.Semaphore(at_once)

            async def live(number: int) -> None:
                async with slots:
                    life = Life(caller, Random(f"{self.seed}/{number}"), number, GUESTS, habits)
                    await life.run()
                    done.append(life)

            blowing = asyncio.create_task(weather.blow())
            killing = asyncio.create_task(self._kill(kills, lives, done, random, said))
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(lives):
                        group.create_task(live(number))
                await killing
            finally:
                for task in (blowing, killing):
                    task.cancel()
                await asyncio.gather(blowing, killing, return_exceptions=True)
            stormed = time.monotonic()
            self.say(f"{len(done)} lives are over after {stormed - began:.0f} s")
            for life in done:
                await life.settle(wait=True)
            tenants = [life.is_now for life in done]
            await eventually(
                lambda: self._agrees(caller, tenants), seconds=self.bound, pause=0.5, what="everything agrees"
            )
        figures = {
            "tenants": lives,
            "deleted at the end": sum(tenant.status == "deleted" for tenant in tenants),
            "kills": self.service.kills,
            "seconds of storm": round(stormed - began),
            "seconds until everything agreed": round(time.monotonic() - stormed, 1),
            "requests to integrations": weather.requests() - before,
            "faults": dict(sorted(weather.struck.items())),
            "answers": dict(sorted(said.items())),
        }
        return tenants, figures

    async def _kill(self, times: int, lives: int, done: list[Life], random: Random, said: Counter[str]) -> None:
        """Kill the service again and again while the tenants live."""
        for number in range(times):
            while len(done) < lives * number // (times + 1):  # noqa: ASYNC110 - the work itself is what is waited for
                await asyncio.sleep(0.05)
            await asyncio.sleep(random.uniform(0.2, 1.5))
            await self.service.kill()
            self.say(f"{self.service.kills}. kill, {len(done)} lives are over, {sum(said.values())} answers")
            await self.service.start()

    async def _agrees(self, caller: Caller, tenants: list[Expected]) -> bool:
        wrong = [problem for tenant in tenants async for problem in _told_otherwise(caller, tenant)]
        assert not wrong, f"{len(wrong)} by the API, of which {wrong[:5]}"
        held = await asyncio.to_thread(differences, self.suite, tenants)
        assert not held, f"{len(held)} in the integrations, of which {held[:5]}"
        return True


async def _told_otherwise(caller: Caller, expected: Expected) -> AsyncIterator[str]:
    """Compare what the API says of a tenant with what is expected."""
    seen = await caller.read(f"/api/tenants/{expected.slug}")
    status = "active" if expected.status == "open" else expected.status
    if seen["status"] != status:
        yield f"{expected.slug} is {seen['status']} instead of {status}: {seen['provisioning']}"
        return
    for name, condition in seen["provisioning"].items():
        if (condition["status"], condition["observedGeneration"]) != ("ready", seen["version"]):
            yield f"{expected.slug} at {name} is {condition} for version {seen['version']}"
    if status == "deleted":
        certified = await caller.read(f"/api/tenants/{expected.slug}/certificate")
        if not certified["sha256"]:
            yield f"{expected.slug} has no certificate"
        return
    told = (seen["name"], seen["seats"], [domain["name"] for domain in seen["domains"]])
    if told != (expected.name, expected.seats, list(expected.domains)):
        yield f"{expected.slug} is {told} instead of {expected}"
    members = {p["email"]: p for p in (await caller.read(f"/api/tenants/{expected.slug}/users?limit=200"))["items"]}
    if {email: member["role"] for email, member in members.items()} != expected.members:
        yield f"{expected.slug} has {members} instead of {expected.members}"
    for email, member in members.items():
        if member["pending"] is not None or member["status"] != "invited":
            yield f"{email} in {expected.slug} is {member['status']}, {member['pending']}"


async def everything_told(mongo: Mongo, server: NatsServer, topology: Topology, tenants: list[Expected]) -> Told:
    """Wait for the relay to have told all; a new one waits for the lease of one that was killed."""

    async def look() -> Told:
        found = await told(mongo, server, topology, tenants)
        assert found.wrong == []
        return found

    return await eventually(look, seconds=30, pause=0.5)


@contextlib.asynccontextmanager
async def torture(
    environment: Any,
    mongo: Mongo,
    suite: Suite,
    log: Path,
    *,
    seed: int,
    bound: float,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Torture]:
    settings = environment("tenant", **suite.settings(), resync_seconds=RESYNC_SECONDS, deletion_grace_days=0)
    service = Service(settings, log)
    async with httpx.AsyncClient() as http:
        await World(http, mongo, suite).sell()
    await service.start()
    try:
        yield Torture(service, suite, mongo, seed, bound, say)
    finally:
        await service.kill()
        suite.heal()


async def test_a_few_tenants_live_through_storms_and_kills_and_everything_agrees_afterwards(
    service_environment: Any,
    mongo: Mongo,
    suite: Suite,
    nats_server: NatsServer,
    nats_topology: Topology,
    tmp_path: Path,
) -> None:
    async with torture(service_environment, mongo, suite, tmp_path / "log", seed=7, bound=60) as tormented:
        tenants, figures = await tormented.run(lives=5, kills=1, at_once=5, habits=Habits((2, 4), 0.2, 4.0))
        await everything_told(mongo, nats_server, nats_topology, tenants)
    assert figures["kills"] == 1
    assert sum(figures["faults"].values()) > 0


@pytest.mark.torture
async def test_two_hundred_tenants_live_through_storms_and_twenty_kills_and_everything_agrees_afterwards(
    service_environment: Any,
    mongo: Mongo,
    suite: Suite,
    nats_server: NatsServer,
    nats_topology: Topology,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    seed, log = SEED or int(time.time()), tmp_path / "log"
    say(f"TORTURE_SEED={seed}")
    async with torture(service_environment, mongo, suite, log, seed=seed, bound=600, say=say) as tormented:
        tenants, figures = await tormented.run(lives=200, kills=20, at_once=32)
        found = await everything_told(mongo, nats_server, nats_topology, tenants)
    assert figures["kills"] == 20
    assert figures["faults"].keys() == {rule["effect"] for rule in FAULTS}
    for decision in ("changed", "suspended", "resumed", "deleted", "restored", "invited", "removed"):
        assert figures["answers"].get(decision, 0) >= 5, decision
    say(keep("lives", {"seed": seed, **figures, "events": found.count}))
