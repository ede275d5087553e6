"""The durable consumer `audit-chain`: every event of the platform, chained in batches, acknowledged after the commit.

There are no dead letters here. While MongoDB is away nothing is pulled, and what was pulled is handed back:
JetStream holds the backlog, this process holds one batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.audit.chain import CHAIN_REFUSES, ChainWriter, append_all, count_unparsed
from services.audit.facts import interpret, unparsed
from services.audit.models import Fact
from shared import tracing
from shared.bus import Bus, BusUnavailable, Delivery
from shared.clock import Clock, parse_rfc3339
from shared.leases import Lease, LeaseLost
from shared.mongo import Mongo, is_unavailable, wait_until_available

log = structlog.get_logger()

CONSUMER = "audit-chain"
MOST_EVENTS = 500
MOST_BYTES = 4 * 1024 * 1024
FETCH_SECONDS = 2.0
BUSY_FETCH_SECONDS = 0.05
RENEW_SECONDS = 3.0
PAUSE_SECONDS = 0.5

_blocked = Gauge("dezky_audit_chain_blocked", "1 while the chain refuses to grow although MongoDB answers")
_drain_failures = Counter("dezky_audit_drain_failures_total", "Attempts to chain what waits in the queue that failed")
_delay = Histogram(
    "dezky_audit_delay_seconds",
    "From an event's time to its entry's commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)


class Waiting(Protocol):
    """What waits to be chained beside the events; `drain` chains a batch of it, and tells whether it was a full one."""

    async def drain(self) -> bool: ...


class ChainConsumer:
    """Pulls as long as this replica holds the lease of the chain."""

    def __init__(
        self,
        bus: Bus,
        mongo: Mongo,
        lease: Lease,
        writer: ChainWriter,
        clock: Clock,
        waiting: Waiting | None = None,
    ) -> None:
        self._bus = bus
        self._mongo = mongo
        self._lease = lease
        self._writer = writer
        self._clock = clock
        self._waiting = waiting
        self._puller = bus.puller(CONSUMER)
        self._renew_at = 0.0

    async def run(self) -> None:
        """Consume until cancelled."""
        try:
            while True:
                await self._run_once()
        finally:
            await self._puller.close()
            await self._lease.release()

    async def _run_once(self) -> None:
        try:
            await self._hold()
            more = await self._drain()
            if not self._bus.connected:
                raise BusUnavailable
            deliveries = await self._puller.fetch(MOST_EVENTS, BUSY_FETCH_SECONDS if more else FETCH_SECONDS)
            for batch in batches(deliveries):
                await self._hold()
                await self.take(batch)
            _blocked.set(0)
        except BusUnavailable:
            # Only a pause: what waits in the database needs no bus.
            await asyncio.sleep(PAUSE_SECONDS)
        except LeaseLost:
            log.info("audit.lease_lost")
            _blocked.set(0)  # whether it grows is another replica's to say now
            self._renew_at = 0.0
        except Exception as error:
            # The loop must survive; what was not acknowledged comes again.
            if not is_unavailable(error):
                _blocked.set(1)
                log.exception("audit.chain_blocked")
            await asyncio.sleep(PAUSE_SECONDS)
            await wait_until_available(self._mongo)

    async def _drain(self) -> bool:
        try:
            return self._waiting is not None and await self._waiting.drain()
        except CHAIN_REFUSES:
            raise
        except Exception as error:
            # Whatever is wrong with what others said, our own events are chained.
            if is_unavailable(error):
                raise
            _drain_failures.inc()
            log.exception("audit.drain_failed")
            return False

    async def _hold(self) -> None:
        if time.monotonic() >= self._renew_at:
            await self._lease.hold()
            self._renew_at = time.monotonic() + RENEW_SECONDS

    async def take(self, batch: Sequence[Delivery]) -> None:
        """Chain a batch and acknowledge it; on failure hand it back and raise."""
        try:
            facts = await self._chain(batch)
        except Exception:
            await self._hand_back(batch)
            raise
        await self.acknowledge(batch)
        count_unparsed(facts)
        self._observe(facts)

    async def _chain(self, batch: Sequence[Delivery]) -> list[Fact]:
        facts = [self._interpret(delivery) for delivery in batch]

        def raw(place: int) -> Fact:
            delivery = batch[place]
            fact = unparsed(self._type_of(delivery), delivery.data, self._clock.now(), "not_storable")
            return dataclasses.replace(fact, source_seq=facts[place].source_seq)

        with _spans(facts):
            return await append_all(self._writer.append, facts, raw)

    async def acknowledge(self, batch: Sequence[Delivery]) -> None:
        """Say that the batch has committed. An acknowledgement that is lost costs a duplicate, which is filtered."""
        for delivery in batch:
            await delivery.ack()

    async def _hand_back(self, batch: Sequence[Delivery]) -> None:
        try:
            for delivery in batch:
                await delivery.nak(timedelta(seconds=1))
        except BusUnavailable:
            log.info("audit.hand_back_lost", size=len(batch))

    def _interpret(self, delivery: Delivery) -> Fact:
        return interpret(self._type_of(delivery), delivery.data, self._clock.now())

    def _type_of(self, delivery: Delivery) -> str:
        return delivery.subject.removeprefix(self._bus.topology.subject(""))

    def _observe(self, facts: Sequence[Fact]) -> None:
        now = self._clock.now()
        for fact in facts:
            _delay.observe(max(0.0, (now - parse_rfc3339(fact.fields["at"])).total_seconds()))


@contextlib.contextmanager
def _spans(facts: Sequence[Fact]) -> Iterator[None]:
    """A span for each fact while its batch is chained, in the trace of its own request."""
    begun = [
        tracing.begin(f"process {CONSUMER}", "consumer", fact.traceparent, {"messaging.message.id": fact.id})
        for fact in facts
    ]
    failed = True
    try:
        yield
        failed = False
    finally:
        for span in begun:
            if span is not None:
                span.end(failed=failed)


def batches(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Cut what arrived so that no transaction carries more than MOST_BYTES, or one message larger than that."""
    batch: list[Delivery] = []
    size = 0
    for delivery in deliveries:
        if batch and size + len(delivery.data) > MOST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(delivery)
        size += len(delivery.data)
    if batch:
        yield batch
