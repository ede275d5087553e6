"""The transactional outbox: state and event commit together, and a relay publishes what has committed.

A row is ``pending`` until JetStream acknowledged it and is removed seven days later. The relay runs in one
replica (by lease). It gives every row its ``sourceseq`` in a transaction that is fenced by that lease, so the number
is gapless and stays the same however often the row is published. Rows are found by their pending mark, never by a
high-water mark: ids are made before their transactions commit, so a smaller id may appear later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from shared import context, tracing
from shared.bus import Bus, BusUnavailable, Outgoing
from shared.clock import Clock, rfc3339
from shared.contracts.envelope import Event
from shared.ids import new_id
from shared.leases import Lease, LeaseLost
from shared.mongo import Document, Index, Mongo, Transaction, is_unavailable, wait_until_available
from shared.tasks import end_tasks

log = structlog.get_logger()

KEPT = timedelta(days=7)
SELECT_LIMIT = 1_000
POLL_SECONDS = 1.0

INDEXES = {
    "outbox": [
        Index([("pending", 1), ("_id", 1)], {"partialFilterExpression": {"pending": True}}),
        Index(
            [("aggregate", 1), ("version", 1)],
            {"partialFilterExpression": {"pending": True}, "name": "pending_by_aggregate"},
        ),
        Index([("publishedAt", 1)], {"expireAfterSeconds": int(KEPT.total_seconds())}),
        # An erasure (``shared.forgetting``) finds what is left of a person without reading a week of events.
        Index([("aggregate", 1)]),
        Index(
            [("envelope.data.actor.id", 1)],
            {"partialFilterExpression": {"envelope.data.actor.type": "user"}, "name": "by_person_acting"},
        ),
    ],
}

_published = Counter("dezky_outbox_published_total", "Events acknowledged by JetStream", ["source"])
PENDING = Gauge("dezky_outbox_pending", "Events committed and not yet acknowledged", ["source"])
_failures = Counter("dezky_outbox_relay_failures_total", "Rounds that did not publish", ["source", "reason"])
_delay = Histogram(
    "dezky_outbox_delay_seconds",
    "From the event's time to its acknowledgement",
    ["source"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an outbox holds: how many events, and how long the oldest has waited."""

    count: int
    oldest_seconds: float


class Outbox:
    """Where a use case puts its events, inside the transaction of its change."""

    def __init__(self, mongo: Mongo, source: str, clock: Clock) -> None:
        self._rows = mongo.db["outbox"]
        self._source = source
        self._clock = clock

    async def add(self, tx: Transaction, *events: Event) -> list[str]:
        """Add ``events``; they are published if and only if ``tx`` commits. Return their ids."""
        rows = [self._row(event) for event in events]
        if rows:
            await self._rows.insert_many(rows, session=tx)
        return [row["_id"] for row in rows]

    async def waiting(self) -> Waiting:
        """Return what is not acknowledged yet; an id tells when it was made, so the lowest is the oldest."""
        count = await self._rows.count_documents({"pending": True})
        oldest = await self._rows.find_one({"pending": True}, {"time": 1}, sort=[("_id", 1)])
        age = 0.0 if oldest is None else (self._clock.now() - oldest["time"]).total_seconds()
        return Waiting(count, max(0.0, age))

    def _row(self, event: Event) -> Document:
        now = self._clock.now()
        data = event.model_dump(mode="json", by_alias=True)
        if isinstance(changes := data.get("changes"), dict):
            data["changes"] = {name: change for name, change in changes.items() if change is not None}
        about = context.current()
        event_id = new_id()
        envelope: dict[str, Any] = {
            "specversion": "1.0",
            "id": event_id,
            "source": self._source,
            "type": event.type,
            "subject": event.subject,
            "time": rfc3339(now),
            "datacontenttype": "application/json",
            "data": data,
        }
        if about.traceparent:
            envelope["traceparent"] = about.traceparent
        if about.request_id:
            envelope["requestid"] = about.request_id
        return {
            "_id": event_id,
            "type": event.type,
            "aggregate": event.subject,
            "version": event.version,
            "time": now,
            "envelope": envelope,
            "pending": True,
        }


class OutboxRelay:
    """Publishes committed rows, in every service, in one replica at a time."""

    def __init__(self, mongo: Mongo, bus: Bus, source: str, clock: Clock, lease: Lease) -> None:
        self._mongo = mongo
        self._rows = mongo.db["outbox"]
        # One moment for the whole scan: between two batches of an ordinary cursor, version 1 may commit behind
        # the point that it has reached and version 2 before it.
        self._scan = self._rows.with_options(read_concern=ReadConcern("snapshot"))
        self._counters = mongo.db["counters"]
        self._bus = bus
        self._source = source
        self._clock = clock
        self._lease = lease
        self._wake = asyncio.Event()
        for reason in ("nats", "database", "error"):
            _failures.labels(source, reason)

    async def run(self) -> None:
        """Relay until cancelled. A database or a NATS that is away is waited for."""
        watcher = asyncio.create_task(self._watch(), name="outbox.watch")
        try:
            while True:
                await self._run_once()
        finally:
            await end_tasks([watcher])
            await self._lease.release()

    async def _run_once(self) -> None:
        try:
            await self._lease.hold()
            self._wake.clear()
            if await self.drain() < SELECT_LIMIT:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()
        except BusUnavailable as error:
            log.warning("outbox.waiting_for_nats", error=str(error))
            _failures.labels(self._source, "nats").inc()
            await asyncio.sleep(0.5)
        except LeaseLost:
            log.info("outbox.lease_lost")
        except Exception as error:
            away = is_unavailable(error)
            _failures.labels(self._source, "database" if away else "error").inc()
            if not away:
                log.exception("outbox.relay_failed")
            await asyncio.sleep(0.5)
            await wait_until_available(self._mongo)

    async def drain(self) -> int:
        """Publish one selection of pending rows in order; return how many were acknowledged."""
        rows = await self._select()
        if not rows:
            PENDING.labels(self._source).set(0)
            return 0
        numbered = await self._number(rows)
        await self.publish(numbered)
        await self.mark([row["_id"] for row in numbered])
        return len(numbered)

    async def publish(self, rows: Sequence[Document]) -> None:
        """Hand numbered rows to JetStream and wait for its acknowledgement."""
        spans = [self._span(row) for row in rows]
        failed = True
        try:
            await self._bus.publish([self._message(row) for row in rows])
            failed = False
        finally:
            for span in spans:
                if span is not None:
                    span.end(failed=failed)

    @staticmethod
    def _span(row: Document) -> tracing.Span | None:
        about = {
            "messaging.system": "nats",
            "messaging.destination.name": row["type"],
            "messaging.message.id": row["_id"],
        }
        return tracing.begin(f"publish {row['type']}", "producer", row["envelope"].get("traceparent", ""), about)

    async def mark(self, ids: Sequence[str]) -> None:
        """Record the acknowledgement; a crash before this publishes the rows again under the same ids."""
        now = self._clock.now()
        await self._rows.update_many(
            {"_id": {"$in": list(ids)}}, {"$set": {"publishedAt": now}, "$unset": {"pending": ""}}
        )
        _published.labels(self._source).inc(len(ids))

    async def _select(self) -> list[Document]:
        rows = await self._scan.find({"pending": True}).sort("_id", 1).limit(SELECT_LIMIT).to_list()
        if len(rows) == SELECT_LIMIT:
            rows += await self._left_behind(rows)
            PENDING.labels(self._source).set(await self._rows.count_documents({"pending": True}))
        else:
            PENDING.labels(self._source).set(len(rows))
        return _in_version_order(rows)

    async def _left_behind(self, rows: list[Document]) -> list[Document]:
        """Return lower versions of the same aggregates that the limit cut off (clocks of replicas differ)."""
        newest: dict[str, int] = defaultdict(int)
        for row in rows:
            newest[row["aggregate"]] = max(newest[row["aggregate"]], row["version"] or 0)
        candidates = self._rows.find({"pending": True, "aggregate": {"$in": list(newest)}})
        known = {row["_id"] for row in rows}
        return [
            row
            async for row in candidates
            if row["_id"] not in known and (row["version"] or 0) < newest[row["aggregate"]]
        ]

    async def _number(self, rows: list[Document]) -> list[Document]:
        """Give every row without one its ``seq``, and return all of them in the order of ``seq``."""
        fresh = [row for row in rows if "seq" not in row]

        async def assign(tx: Transaction) -> int:
            await self._lease.assert_held(tx)
            counter = await self._counters.find_one_and_update(
                {"_id": "sourceseq"},
                {"$inc": {"value": len(fresh)}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=tx,
            )
            last = 0 if counter is None else int(counter["value"])
            first = last - len(fresh) + 1
            updates = [
                UpdateOne({"_id": row["_id"]}, {"$set": {"seq": first + place}}) for place, row in enumerate(fresh)
            ]
            await self._rows.bulk_write(updates, ordered=False, session=tx)
            return first

        if fresh:
            first = await self._mongo.transactions.run(assign)
            for place, row in enumerate(fresh):
                row["seq"] = first + place
        return sorted(rows, key=lambda row: int(row["seq"]))

    def _message(self, row: Document) -> Outgoing:
        _delay.labels(self._source).observe((self._clock.now() - row["time"]).total_seconds())
        payload = orjson.dumps({**row["envelope"], "sourceseq": row["seq"]})
        return Outgoing(
            subject=self._bus.topology.subject(row["type"]),
            id=row["_id"],
            payload=payload,
            headers={"Content-Type": "application/cloudevents+json"},
        )

    async def _watch(self) -> None:
        """Wake the relay when a row commits. Losing the stream costs latency only: polling is the truth."""
        inserts = [{"$match": {"operationType": "insert"}}]
        while True:
            try:
                async with await self._rows.watch(inserts) as stream:
                    async for _ in stream:
                        self._wake.set()
            except PyMongoError:
                await asyncio.sleep(1.0)


def _in_version_order(rows: list[Document]) -> list[Document]:
    """Keep the order of ids, but let each aggregate's rows appear by version."""
    by_aggregate: dict[str, list[Document]] = defaultdict(list)
    for row in rows:
        by_aggregate[row["aggregate"]].append(row)
    for group in by_aggregate.values():
        group.sort(key=lambda row: (row["version"] or 0, row["_id"]))
        group.reverse()
    return [by_aggregate[row["aggregate"]].pop() for row in rows]
