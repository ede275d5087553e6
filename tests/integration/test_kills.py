"""``kill -9`` at every step between a request and its effect elsewhere: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from infrastructure.local.servers.nats import NatsServer
from shared.bus import Bus
from shared.inbox import INDEXES
from shared.mongo import Mongo
from shared.testing import Callers, partner_person
from shared.topology import Topology
from tests.integration.parts import Streams, envelope, hasten, outgoing
from tests.support.servers import TestDatabase, nats_url
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
CALLERS = Callers("tenant")
Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a module as a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, environment: Mapping[str, str], die_at: str = "") -> subprocess.Popen[bytes]:
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.integration.processes.{module}"],
                env={"PATH": os.environ["PATH"], **environment, "DIE_AT": die_at},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


async def killed(process: subprocess.Popen[bytes]) -> None:
    async def gone() -> bool:
        return process.poll() is not None

    await eventually(gone, seconds=30, what="the process kills itself")
    assert process.returncode == -signal.SIGKILL


def environment_of(settings: Mapping[str, Any]) -> dict[str, str]:
    shared = {"internal_public_keys": "INTERNAL_PUBLIC_KEYS", "nats_prefix": "NATS_PREFIX"}
    shared["environment"] = "DEZKY_ENVIRONMENT"
    return {
        shared.get(name, f"TENANT_{name.upper()}"): json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in settings.items()
    }


@pytest.fixture
async def impatient(mongo: Mongo) -> AsyncIterator[None]:
    """A MongoDB that gives an abandoned transaction up after 3 seconds instead of after its usual time."""
    name = "transactionLifetimeLimitSeconds"
    usual = (await mongo.client.admin.command({"getParameter": 1, name: 1}))[name]
    await mongo.client.admin.command({"setParameter": 1, name: 3})
    yield
    await mongo.client.admin.command({"setParameter": 1, name: usual})


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("step", "committed"), [("before_commit", False), ("publish", True), ("mark", True)])
async def test_a_service_is_killed_at(
    step: str, committed: bool, run: Run, service_environment: Any, mongo: Mongo, streams: Streams
) -> None:
    settings = service_environment("tenant")
    environment = environment_of(settings)
    headers = CALLERS.headers(partner_person("nordic"), idempotency_key="k-1")
    body = {"slug": "acme", "name": "Acme", "plan": "business", "seats": 1}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings['port']}") as http:

        async def ready() -> bool:
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        async def create() -> int | None:
            try:
                return (await http.post("/api/tenants", json=body, headers=headers)).status_code
            except httpx.TransportError:
                return None

        dying = run("tenant", environment, step)
        await eventually(ready, seconds=30)
        await mongo.db["partners"].insert_one({"_id": "nordic", "slug": "nordic", "status": "active", "version": 1})
        sold = {"plan": "business", "cycle": "month", "currencies": ["EUR"], "archived": False, "version": 1}
        await mongo.db["prices"].insert_one({"_id": "business-month", **sold})
        assert await create() in ({201, None} if committed else {None})
        await killed(dying)
        assert await mongo.db["tenants"].count_documents({}) == committed
        assert await mongo.db["outbox"].count_documents({"pending": True}) == committed
        assert len(await streams.events()) == (step == "mark")

        if step != "mark":  # there, the successor waits for the end of the dead one's lease as it would in life
            await mongo.db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])
        run("tenant", environment)
        await eventually(ready, seconds=30)

        async def created() -> bool:
            status = await create()
            assert status in {201, 409}  # 409 until MongoDB has given up the dead process's transaction
            return status == 201

        await eventually(created, seconds=15)

        async def published() -> bool:
            rows = await mongo.db["outbox"].count_documents({})
            return rows == 1 and await mongo.db["outbox"].count_documents({"pending": True}) == 0

        await eventually(published, seconds=30)
    assert [(e["type"], e["sourceseq"]) for e in await streams.events()] == [("tenant.created.v1", 1)]
    assert await mongo.db["tenants"].count_documents({}) == 1


async def test_a_consumer_is_killed_between_its_effect_and_its_acknowledgement(
    run: Run,
    mongo: Mongo,
    database: TestDatabase,
    bus: Bus,
    nats_server: NatsServer,
    nats_topology: Topology,
    nats_prefix: str,
    streams: Streams,
) -> None:
    await mongo.ensure_indexes(INDEXES)
    await mongo.db.create_collection("effects")
    await hasten(streams)
    await bus.publish([outgoing(nats_topology, envelope(number)) for number in range(5)])
    environment = {
        "MONGO_URI": database.uri,
        "MONGO_DATABASE": database.name,
        "NATS_URL": nats_url(nats_server, "audit"),
        "NATS_PREFIX": nats_prefix,
    }
    dying = run("consumer", environment, "ack")
    await killed(dying)
    effects = sorted([row["number"] async for row in mongo.db["effects"].find()])
    assert effects == list(range(len(effects)))
    assert effects
    assert await streams.unacknowledged() == 5
    run("consumer", environment)

    async def acknowledged() -> bool:
        return await streams.unacknowledged() == 0

    await eventually(acknowledged, seconds=30)
    assert sorted([row["number"] async for row in mongo.db["effects"].find()]) == [0, 1, 2, 3, 4]
