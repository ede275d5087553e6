"""The gateway's own events: it has no database, so each is published, and known to be stored, from here."""

from __future__ import annotations

from datetime import datetime

import orjson

from shared import context
from shared.bus import Bus, Outgoing
from shared.clock import rfc3339
from shared.contracts.envelope import CloudEvent, Event

SOURCE = "gateway"
NOT_NUMBERED = 0
"""The gateway counts nothing between its replicas, so its events bear no number of a gapless sequence."""


async def publish(bus: Bus, event: Event, event_id: str, at: datetime, request_id: str | None = None) -> None:
    """Return when JetStream has stored the event; again under the same id is safe.

    Raises:
        BusUnavailable: it is not known to be stored.
    """
    envelope = CloudEvent(
        id=event_id,
        source=SOURCE,
        type=event.type,
        subject=event.subject,
        time=at,
        sourceseq=NOT_NUMBERED,
        requestid=request_id,
        traceparent=context.current().traceparent or None,
        data=event.model_dump(mode="json", by_alias=True),
    )
    body = {**envelope.model_dump(exclude_none=True, exclude={"time"}), "time": rfc3339(envelope.time)}
    headers = {"Content-Type": "application/cloudevents+json"}
    await bus.publish([Outgoing(bus.topology.subject(event.type), event_id, orjson.dumps(body), headers)])
