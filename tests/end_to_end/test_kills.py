"""`kill -9` of each process once while the main job runs: no step is lost or doubled, and the log stays whole."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from infrastructure.local.place import ROOT
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(500)]

SERVICES = ("tenant", "partner", "billing", "flags", "audit", "health")
PAUSE_SECONDS = 1.5
BACK_SECONDS = 60


async def start_demo(fleet: Fleet) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "DEZKY_HOME": str(fleet.place.home),
        "DEZKY_PORT_BASE": str(fleet.place.port_base),
    }
    command = (sys.executable, "-m", "infrastructure.local.demo")
    output = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=output, stderr=output)


async def kill(fleet: Fleet, name: str) -> None:
    """Kill a process and wait until the runner has started it again and it is ready."""
    before = {process.name: process for process in fleet.state().processes}[name]
    os.kill(fleet.pid(name), signal.SIGKILL)

    async def back() -> bool:
        now = {process.name: process for process in fleet.state().processes}[name]
        return now.restarts > before.restarts and now.state == "ready"

    await eventually(back, seconds=BACK_SECONDS, what=f"{name} is back")


async def test_each_process_is_killed_once_while_the_demo_runs_and_nothing_is_lost_or_doubled(fleet: Fleet) -> None:
    victims = [process.name for process in fleet.state().processes if process.required]
    demos = 0
    while victims:
        demo = await start_demo(fleet)
        demos += 1
        while victims and demo.returncode is None:
            await kill(fleet, victims.pop())
            await asyncio.sleep(PAUSE_SECONDS)
        said, complained = await demo.communicate()
        assert demo.returncode == 0, said.decode() + complained.decode()
    with fleet.root() as root:
        await eventually(lambda: audited(root), seconds=60, what="every event is in the log exactly once")
        once(root["partner"]["partners"], "slug", "demo-partner-", demos)
        once(root["tenant"]["tenants"], "slug", "demo-tenant-", demos)
        once(root["billing"]["subscriptions"], "tenant_slug", "demo-tenant-", demos)
    async with fleet.client("operator@dezky.local", "operator") as operator:
        verified = (await operator.get("/api/audit/verify")).json()
    assert verified["ok"] is True, verified
    assert [finding for finding in verified["findings"] if "witness" not in finding] == []


def once(collection: Any, name: str, prefix: str, times: int) -> None:
    """Every demo made exactly one."""
    found = [row[name] for row in collection.find({name: {"$regex": f"^{prefix}"}})]
    assert len(found) == len(set(found)) == times, found


async def audited(root: Any) -> bool:
    """Every event that any service ever committed has exactly one entry."""
    logged = [row["id"] for row in root["audit"]["entries"].find({}, {"id": 1})]
    assert len(logged) == len(set(logged))
    committed = {row["_id"] for name in SERVICES for row in root[name]["outbox"].find({}, {"_id": 1})}
    missing = committed - set(logged)
    assert not missing, f"{len(missing)} events are not in the log"
    return True
