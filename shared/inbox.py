"""Consuming events: the event id is claimed in the transaction of its effect, so a duplicate has none.

An outage is told from poison. While the consumer's own database is away nothing is pulled and nothing counts.
A handler that fails with a healthy database is tried again after 1, 2, 4 and 8 seconds; the fifth failure moves the
event to the dead letters, so a poisoned event is there within a minute and delays nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from prometheus_client import Counter
from pydantic import ValidationError
from pymongo import ReturnDocument

from shared import context, tracing
from shared.bus import Bus, BusUnavailable, Delivery, Outgoing
from shared.clock import Clock
from shared.contracts.envelope import CloudEvent
from shared.mongo import Index, Mongo, Transaction, is_unavailable, wait_until_available
from shared.topology import Topology, owner_of

log = structlog.get_logger()

KEPT = timedelta(days=35)
BATCH = 64
FETCH_SECONDS = 5.0
FAILURES_BEFORE_BURIAL = 5

INDEXES = {
    "inbox": [Index([("at", 1)], {"expireAfterSeconds": int(KEPT.total_seconds())})],
    "consumer_failures": [Index([("at", 1)], {"expireAfterSeconds": int(KEPT.total_seconds())})],
}

_handled = Counter("dezky_events_handled_total", "Events applied", ["consumer"])
_failed = Counter("dezky_events_failed_total", "Failures of a handler with healthy dependencies", ["consumer"])
_errors = Counter("dezky_consumer_errors_total", "Rounds of a consumer that ended in an error", ["consumer"])
_buried = Counter("dezky_events_buried_total", "Events moved to the dead letters", ["consumer"])

Handler = Callable[[CloudEvent, Transaction], Awaitable[None]]


class _Poison(Exception):
    """No attempt can help: the message is no event, or its source may not say this."""


class EventConsumer:
    """Runs one durable consumer of a service.

    The handler gets the event and the open transaction and writes through that transaction only; it may run
    more than once for one event, but commits once. A batch shares a transaction; if it fails, its events are
    tried one by one, so one poisoned event does not hold up its neighbours.
    """

    def __init__(
        self, bus: Bus, name: str, mongo: Mongo, handler: Handler, clock: Clock, *, generation: int = 1
    ) -> None:
        self._bus = bus
        self._name = name
        self._mongo = mongo
        self._handler = handler
        self._clock = clock
        self._generation = generation
        self._puller = bus.puller(name)
        # From zero on, so that the first one is an increase.
        for counter in (_handled, _failed, _buried, _errors):
            counter.labels(name)

    async def run(self) -> None:
        """Consume until cancelled."""
        try:
            while True:
                await self._run_once()
        finally:
            await self._puller.close()

    async def _run_once(self) -> None:
        try:
            await wait_until_available(self._mongo)
            deliveries = await self._puller.fetch(BATCH, FETCH_SECONDS)
            if deliveries:
                await self._take(deliveries)
        except BusUnavailable:
            await self._bus.wait_connected()
        except Exception as error:
            # The loop must survive; what was not acknowledged comes again.
            _errors.labels(self._name).inc()
            if not is_unavailable(error):
                log.exception("consumer.failed", consumer=self._name, error=_told(error), exc_info=False)
            await asyncio.sleep(0.5)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._apply(deliveries)
        except Exception as error:
            if is_unavailable(error):
                await self._hand_back(deliveries)
                raise
            for delivery in deliveries:
                await self._take_one(delivery)
            return
        for delivery in deliveries:
            await delivery.ack()

    async def _take_one(self, delivery: Delivery) -> None:
        try:
            await self._apply([delivery])
        except _Poison as error:
            await self._bury(delivery, str(error))
        except Exception as error:
            if is_unavailable(error):
                await self._hand_back([delivery])
                raise
            await self._mongo.ping()
            await self._count_failure(delivery, error)
        else:
            await delivery.ack()

    async def _apply(self, deliveries: Sequence[Delivery]) -> None:
        events = [_parse(delivery, self._bus.topology) for delivery in deliveries]

        async def apply(tx: Transaction) -> None:
            for event in events:
                if await self._is_first(event, tx):
                    # What follows from an event belongs to the request that it came from.
                    cause = context.RequestContext(event.requestid or "", event.traceparent or "")
                    with tracing.span(f"process {self._name}", "consumer", cause, _about(event)):
                        await self._handler(event, tx)

        await self._mongo.transactions.run(apply)
        _handled.labels(self._name).inc(len(events))

    async def _is_first(self, event: CloudEvent, tx: Transaction) -> bool:
        # An upsert instead of an insert: a duplicate key would abort the whole transaction.
        key = {"consumer": self._name, "generation": self._generation, "event": event.id}
        result = await self._mongo.db["inbox"].update_one(
            {"_id": key}, {"$setOnInsert": {"at": self._clock.now()}}, upsert=True, session=tx
        )
        return result.upserted_id is not None

    async def _hand_back(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            await delivery.nak(timedelta(seconds=1))

    async def _count_failure(self, delivery: Delivery, error: Exception) -> None:
        event = _parse(delivery, self._bus.topology)
        row = await self._mongo.db["consumer_failures"].find_one_and_update(
            {"_id": {"consumer": self._name, "generation": self._generation, "event": event.id}},
            {"$inc": {"count": 1}, "$set": {"at": self._clock.now(), "error": _told(error)}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        count = 1 if row is None else int(row["count"])
        _failed.labels(self._name).inc()
        log.warning("consumer.event_failed", consumer=self._name, id=event.id, count=count, error=_told(error))
        if count >= FAILURES_BEFORE_BURIAL:
            await self._bury(delivery, _told(error))
        else:
            await delivery.nak(timedelta(seconds=2 ** (count - 1)))

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        topology = self._bus.topology
        event_type = delivery.subject.removeprefix(topology.subject(""))
        message = Outgoing(
            subject=topology.dead_subject(self._name, event_type),
            id=f"{self._name}:{self._generation}:{hashlib.sha256(delivery.data).hexdigest()}",
            payload=delivery.data,
            headers={"Dezky-Consumer": self._name, "Dezky-Reason": " ".join(reason.split())[:500]},
        )
        await self._bus.publish([message])
        await delivery.ack()
        _buried.labels(self._name).inc()
        log.error("consumer.event_buried", consumer=self._name, type=event_type, reason=reason)


def _about(event: CloudEvent) -> tracing.Attributes:
    return {"messaging.system": "nats", "messaging.destination.name": event.type, "messaging.message.id": event.id}


def _told(error: Exception) -> str:
    """What kind of error it was and where it was raised. Never its text: that may quote the event, and so a person."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        # The names on the way to a problem may be an event's own words: only the kinds of problems are told.
        return f"ValidationError of {error.title}: {', '.join(sorted({problem['type'] for problem in problems}))}"[:500]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _parse(delivery: Delivery, topology: Topology) -> CloudEvent:
    try:
        event = CloudEvent.model_validate_json(delivery.data)
    except ValidationError as error:
        raise _Poison(f"no CloudEvent: {error.error_count()} problems") from error
    # NATS lets a process publish only under its own subjects: that, and not what it says, is what is believed.
    if delivery.subject != topology.subject(event.type):
        raise _Poison(f"{event.type!r} came under another subject")
    if owner_of(event.type) != event.source:
        raise _Poison(f"{event.source!r} does not own {event.type!r}")
    return event
