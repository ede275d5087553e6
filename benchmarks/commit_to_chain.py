"""From the commit of a change to its entry in the chain: outbox, JetStream with a sync per acknowledgement, audit.

Sustained: four writers commit transactions of 25 events as fast as they can while relay and audit service follow; the
clock runs from the first commit to the last entry. The peer differs in the relay alone, which publishes one by one.
Latency: one transaction per event, 500 a second; from the moment the commit has returned to the moment a change stream
(majority) shows the entry. The services share the subject's core; MongoDB, NATS and the writers share the others, which
is the narrower place: the rate of commits that was reached is printed, and a latency at less than 95 % of 500 is void.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.change_stream import AsyncChangeStream

from benchmarks.events import updated
from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Bound, Comparison, Figure, percentile, worked
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting
from shared.app import COMMON_INDEXES
from shared.clock import SystemClock
from shared.mongo import Document, Mongo, Transaction
from shared.outbox import Outbox

RATE = 500
_WRITERS = 4
_TOGETHER = 25
_PATIENCE = 45.0


@dataclass(frozen=True)
class Paced:
    """At which rate commits came, and the seconds from each commit to its entry."""

    rate: float
    seconds: list[float]


class Writers:
    """Commits changes, and sees the chain grow."""

    def __init__(self, servers: Servers) -> None:
        self.tenant = Mongo(servers.mongo_uri, "tenant", "benchmarks")
        self.audit = Mongo(servers.mongo_uri, "audit", "benchmarks")
        self._outbox = Outbox(self.tenant, "tenant", SystemClock())
        self.made = 0

    async def commit(self, count: int) -> int:
        """Commit ``count`` events in one transaction; return the number of the last."""
        events = [updated(self.made + place) for place in range(1, count + 1)]
        self.made += count

        async def body(tx: Transaction) -> None:
            await self._outbox.add(tx, *events)

        last = self.made
        await self.tenant.transactions.run(body)
        return last

    async def head(self) -> int:
        row = await self.audit.db["heads"].find_one({"_id": "chain"})
        return int(row["seq"]) if row else 0

    async def until_chained(self, seq: int) -> None:
        async with asyncio.timeout(_PATIENCE):
            while await self.head() < seq:  # noqa: ASYNC110 - this is what is measured
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.tenant.close()
        await self.audit.close()


async def measure(setting: Setting) -> Figure:
    """Return the sustained rates of both relays, and the latency at 500 events a second."""
    figure = Figure("pipeline", "Events: commit → outbox → JetStream (synced) → chained")
    async with both(setting.folder) as servers:
        writers = Writers(servers)
        await writers.tenant.ensure_indexes(COMMON_INDEXES)
        port = free_port()
        audit = Pinned(
            python("services.audit"),
            servers.environment("audit", port),
            setting.folder / "audit.log",
            port=port,
            ready_path="/readyz",
        )
        ours, peer = [], []
        paced = Paced(0.0, [])
        async with audit:
            for _ in range(setting.sized(3, 1)):
                async with _relay(setting, servers, writers) as relay:
                    ours.append(await _sustained(writers, setting.sized(5_000, 2_000), (audit, relay)))
                    if not paced.seconds:
                        paced = await _paced(writers, setting.sized(10, 3))
                async with _singly(setting, servers, writers) as relay:
                    peer.append(await _sustained(writers, setting.sized(800, 300), (audit, relay)))
        await writers.close()
    figure.comparisons.append(
        Comparison("sustained", worked("our relay", ours), worked("publishing one by one", peer), 5.0)
    )
    ordered = sorted(paced.seconds)
    figure.bounds += [
        Bound(f"commit to audited at {RATE}/s, p50", round(percentile(ordered, 0.5) * 1000, 1), "ms"),
        Bound(f"commit to audited at {RATE}/s, p99", round(percentile(ordered, 0.99) * 1000, 1), "ms", 250.0),
    ]
    if paced.rate < 0.95 * RATE:
        figure.unreached.append(f"{RATE} commits a second: the writers reached {paced.rate:.0f}")
    figure.notes.append(f"Latency over {len(ordered)} events, committed at {paced.rate:.0f}/s.")
    return figure


@asynccontextmanager
async def _relay(setting: Setting, servers: Servers, writers: Writers) -> AsyncIterator[Pinned]:
    port = free_port()
    environment = servers.environment("tenant", port)
    log = setting.folder / "tenant.log"
    async with Pinned(python("services.tenant"), environment, log, port=port, ready_path="/readyz") as relay:
        await _first_event(writers)
        yield relay


@asynccontextmanager
async def _singly(setting: Setting, servers: Servers, writers: Writers) -> AsyncIterator[Pinned]:
    command = python("benchmarks.one_by_one", servers.mongo_uri, servers.nats_url("tenant"))
    async with Pinned(command, {}, setting.folder / "one_by_one.log") as relay:
        await _first_event(writers)
        yield relay


async def _first_event(writers: Writers) -> None:
    """Return once everything is connected: an event has come through."""
    before = await writers.head()
    await writers.commit(1)
    await writers.until_chained(before + 1)


async def _sustained(writers: Writers, count: int, subjects: tuple[Pinned, ...]) -> tuple[int, float, float]:
    first = await writers.head()
    left = iter(range(0, count, _TOGETHER))

    async def write() -> None:
        for _ in left:
            await writers.commit(_TOGETHER)

    began, cpu = time.perf_counter(), sum(subject.cpu_seconds() for subject in subjects)
    async with asyncio.TaskGroup() as group:
        for _ in range(_WRITERS):
            group.create_task(write())
        group.create_task(writers.until_chained(first + count))
    return count, time.perf_counter() - began, sum(subject.cpu_seconds() for subject in subjects) - cpu


async def _paced(writers: Writers, seconds: int) -> Paced:
    """Commit one event per transaction, ``RATE`` a second."""
    committed: dict[int, float] = {}
    seen: dict[int, float] = {}
    count = seconds * RATE
    before = writers.made
    # Below the driver's pool: where commits are slower than 500 a second they wait here, and the rate tells.
    line = asyncio.Semaphore(32)
    inserted: list[dict[str, Any]] = [
        {"$match": {"operationType": "insert"}},
        {"$project": {"fullDocument.metadata.version": 1}},
    ]

    async def one() -> None:
        async with line:
            number = await writers.commit(1)
            committed[number] = time.perf_counter()

    async def look(stream: AsyncChangeStream[Document]) -> None:
        async with asyncio.timeout(seconds + _PATIENCE):
            while len(seen) < count:
                number = (await stream.next())["fullDocument"]["metadata"]["version"]
                if number > before:
                    seen[number] = time.perf_counter()

    async with await writers.audit.db["entries"].watch(inserted) as stream, asyncio.TaskGroup() as group:
        group.create_task(look(stream))
        began = time.perf_counter()
        for number in range(count):
            group.create_task(one())
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - time.perf_counter()))
    # An entry may be seen before the commit has returned to its writer.
    seconds_of = [max(0.0, seen[number] - at) for number, at in committed.items()]
    return Paced(count / (max(committed.values()) - began), seconds_of)
