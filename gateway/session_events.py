"""Sessions begin and end as events that are stored before the gateway answers."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.events import SOURCE, publish
from gateway.routes import Surface
from gateway.session_store import Ending, Record
from shared.bus import Bus
from shared.contracts.envelope import Actor, Resource
from shared.contracts.session import SessionEnded, SessionStarted, SessionState
from shared.ids import new_id


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
        await publish(self._bus, event, new_id(), _moment(record.started_at), request_id)

    async def ended(self, record: Record, ending: Ending) -> None:
        """Publish that ``record`` has ended; again under the same id, if it is tried again."""
        event = SessionEnded(
            actor=self._who_ended(record, ending),
            resource=_resource(record),
            state=self._state(record),
            reason=ending.reason,
        )
        await publish(self._bus, event, ending.event_id, _moment(ending.at), ending.request_id)

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


def _resource(record: Record) -> Resource:
    person = record.person
    return Resource(type="session", id=record.id, tenant_slug=person.tenant, partner_slug=person.partner)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
