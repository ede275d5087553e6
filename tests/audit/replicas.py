"""Several replicas of the audit service on one database and one stream, of which the leader is killed or paused."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from services.audit.main import CHAIN_LEASE
from shared.mongo import Database
from shared.topology import Topology
from tests.audit.events import encode, tenant_event
from tests.support.servers import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
LEAN = ("-m", "tests.audit.chain_replica")
WHOLE = ("-m", "services.audit")
_COMMON = {
    "internal_public_keys": "INTERNAL_PUBLIC_KEYS",
    "nats_prefix": "NATS_PREFIX",
    "environment": "DEZKY_ENVIRONMENT",
}


class Replica:
    """One process and what it wrote to its log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        """Kill it, asleep or awake."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def says(self, event: str) -> bool:
        """Whether its log has a line of this event."""
        return any(said["event"] == event for said in self._said(event))

    @property
    def led_at(self) -> str:
        """When it took the lease of the chain last; "" if it never has."""
        held = self._said("lease.held")
        return max((said["timestamp"] for said in held if said["lease"] == CHAIN_LEASE), default="")

    def _said(self, word: str) -> list[dict[str, Any]]:
        lines = self._log.read_bytes().splitlines(keepends=True)
        return [orjson.loads(line) for line in lines if word.encode() in line and line.endswith(b"\n")]

    @property
    def sleeps(self) -> bool:
        """Whether the operating system has stopped it."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"


class Replicas:
    """The replicas, for ``async with``; what is still alive at the end is killed."""

    def __init__(self, environment: dict[str, Any], root_db: Database, folder: Path, command: Sequence[str]) -> None:
        self._environment = environment
        self._db = root_db
        self._folder = folder
        self._command = command
        self._started = 0
        self._bereft = ""
        self.alive: list[Replica] = []

    async def __aenter__(self) -> Replicas:
        return self

    async def __aexit__(self, *_: object) -> None:
        for replica in self.alive:
            await replica.end()

    async def start(self, **variables: str) -> Replica:
        """Start one more; returns before it is ready."""
        self._started += 1
        log = self._folder / f"replica-{self._started}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self._command),
                env=self._variables() | variables,
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        replica = Replica(process, log)
        self.alive.append(replica)
        return replica

    def _variables(self) -> dict[str, str]:
        made = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        for name, value in {**self._environment, "port": free_port()}.items():
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            made[_COMMON.get(name, f"AUDIT_{name.upper()}")] = text
        return made

    async def leader(self, seconds: float) -> Replica:
        """Return the replica that took the lease last, once one of the living has."""

        async def look() -> Replica | None:
            last = max(self.alive, key=lambda replica: replica.led_at)
            return last if last.led_at > self._bereft else None

        return await eventually(look, seconds=seconds, pause=0.02, what="a leader")

    async def kill_leader(self, seconds: float) -> None:
        leader = await self.leader(seconds)
        self.alive.remove(leader)
        await leader.end()
        self._bereft = leader.led_at

    async def expire_lease(self) -> None:
        """What time would do: the lease ends, and the server gives up the transaction that its holder left open."""
        await self._db.command("killAllSessions", [{"user": "audit", "db": self._db.name}])
        await self._db["leases"].update_many({}, [{"$set": {"expiresAt": "$$NOW"}}])


async def produce(admin: Any, topology: Topology, producers: int, each: int) -> None:
    """Publish from all producers at once; their numbers alternate, and together have no hole."""
    stream, subject = admin.jetstream(), topology.subject("tenant.updated.v1")

    async def one(producer: int) -> None:
        for turn in range(each):
            (payload,) = encode(tenant_event(turn * producers + producer + 1))
            await stream.publish(subject, payload, timeout=30)

    async with asyncio.TaskGroup() as group:
        for producer in range(producers):
            group.create_task(one(producer))


async def faults_of(db: Database, count: int) -> list[str]:
    """Read the log as it lies there and say what is wrong with it, without the product's verifier.

    `docs/audit-format.md`: numbers from 1 without a hole, each entry with the hash of the one before it, the first
    with 64 zeros; the head names the newest.
    """
    faults: list[str] = []
    seq, previous = 0, "0" * 64
    ids: set[str] = set()
    async for entry in db["entries"].find({}, {"seq": 1, "id": 1, "prevHash": 1, "hash": 1}).sort("_id", 1):
        seq += 1
        if (entry["_id"], entry["seq"], entry["prevHash"]) != (seq, seq, previous):
            faults.append(f"at {seq} is {entry}")
        if entry["id"] in ids:
            faults.append(f"{entry['id']} is there twice")
        ids.add(entry["id"])
        previous = entry["hash"]
    head = await db["heads"].find_one({})
    if head is None or (head["seq"], head["hash"]) != (seq, previous):
        faults.append(f"the head is {head}")
    expected = {str(tenant_event(number)["id"]) for number in range(1, count + 1)}
    faults += [f"{len(expected - ids)} are missing"] * bool(expected - ids)
    faults += [f"{len(ids - expected)} are nobody's"] * bool(ids - expected)
    return faults
