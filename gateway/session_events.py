"""The gateway's own events: it has no database, so they are published and acknowledged before it answers."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from gateway.routes import Surface
from gateway.session_store import Ending, Record
from shared.bus import Bus, Outgoing
from shared.clock import rfc3339
from shared.contracts.envelope import Actor, CloudEvent, Event, Resource
from shared.contracts.session import SessionEnded, SessionStarted, SessionState
from shared.ids import new_id

SOURCE = "gateway"
NOT_NUMBERED = 0
"""The gateway counts nothing between its replicas, so its events bear no number of a gapless sequence."""


class SessionEvents:
    """Publishes what happens to the sessions of one surface; ``provider`` names who signs people in.

    Both methods return when JetStream has stored the event, and raise ``BusUnavailable`` when that is not known.
    """

    def __init__(self, bus: Bus, surface: Surface, provider: str) -> None:
        self._bus = bus
        self._surface = surface
        self._provider = provider

    async def started(self, record: Record, address: str, request_id: str) -> None:
        """Publish that ``record`` has begun."""
        event = SessionStarted(
            actor=self._person(record, address), resource=_resource(record), state=self._state(record)
        )
        await self._publish(event, new_id(), record.started_at, request_id)

    async def ended(self, record: Record, ending: Ending) -> None:
        """Publish that ``record`` has ended; again under the same id, if it is tried again."""
        event = SessionEnded(
            actor=self._who_ended(record, ending),
            resource=_resource(record),
            state=self._state(record),
            reason=ending.reason,
        )
        await self._publish(event, ending.event_id, ending.at, ending.request_id)

    def _who_ended(self, record: Record, ending: Ending) -> Actor:
        if ending.reason in {"signed_out", "signed_in_again"}:
            return self._person(record, ending.address)
        if ending.reason == "expired":
            return Actor(type="system", id=SOURCE, surface=self._surface)
        return Actor(type="external", id=self._provider, surface=self._surface)

    def _person(self, record: Record, address: str | None) -> Actor:
        person = record.person
        return Actor(type="user", id=person.id, email=person.email, ip=address or None, surface=self._surface)

    def _state(self, record: Record) -> SessionState:
        return SessionState(
            id=record.id,
            surface=self._surface,
            person_id=record.person.id,
            started_at=_moment(record.started_at),
            ends_at=_moment(record.ends_at),
        )

    async def _publish(self, event: Event, event_id: str, at: float, request_id: str | None) -> None:
        envelope = CloudEvent(
            id=event_id,
            source=SOURCE,
            type=event.type,
            subject=event.subject,
            time=_moment(at),
            sourceseq=NOT_NUMBERED,
            requestid=request_id,
            data=event.model_dump(mode="json", by_alias=True),
        )
        body = {**envelope.model_dump(exclude_none=True, exclude={"time"}), "time": rfc3339(envelope.time)}
        await self._bus.publish([Outgoing(self._bus.topology.subject(event.type), event_id, orjson.dumps(body))])


def _resource(record: Record) -> Resource:
    person = record.person
    return Resource(type="session", id=record.id, tenant_slug=person.tenant, partner_slug=person.partner)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
