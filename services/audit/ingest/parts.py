"""The parts of ingestion, wired from settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.audit.chain import ChainWriter
from services.audit.ingest.authentik import AuthentikEvents, AuthentikPoll
from services.audit.ingest.intake import Intake
from services.audit.ingest.models import Source
from services.audit.ingest.ocis import OcisPoll
from services.audit.ingest.outflow import Outflow
from services.audit.ingest.polling import Polling
from services.audit.ingest.repository import IngestRepository
from services.audit.ingest.stalwart import StalwartWebhook
from services.audit.ingest.standing import Expected, Standings
from services.audit.ingest.tail import Tail
from services.audit.settings import AuditSettings
from shared.app import Platform

SWITCHES: dict[Source, str] = {
    "authentik": "AUDIT_AUTHENTIK_URL",
    "stalwart": "AUDIT_STALWART_WEBHOOK_KEY",
    "ocis": "AUDIT_OCIS_AUDIT_FILE",
}

_Task = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Ingest:
    """What the routes and workers of ingestion stand on.

    Attributes:
        outflow: what the consumer of the chain drains.
        tasks: endless workers; closing: what is called once at the end.
    """

    outflow: Outflow
    stalwart: StalwartWebhook
    standings: Standings
    tasks: Sequence[_Task]
    closing: Sequence[_Task]


def wire_ingest(platform: Platform, settings: AuditSettings, writer: ChainWriter) -> Ingest:
    """Build the parts; connects to nothing. A source without its setting is off."""
    repository = IngestRepository(platform.mongo.db)
    intake = Intake(platform.mongo.transactions, repository, platform.clock)
    tasks: list[_Task] = []
    closing: list[_Task] = []
    if settings.authentik_url:
        events = AuthentikEvents(settings.authentik_url, settings.authentik_token.get_secret_value())
        lease = platform.lease("ingest-authentik")
        poll = AuthentikPoll(events, intake, repository, lease, platform.clock)
        every = settings.authentik_poll_seconds
        tasks.append(Polling("authentik", poll, lease, repository, platform.clock, every).run)
        closing.append(events.close)
    if settings.ocis_audit_file:
        tail, lease = Tail(Path(settings.ocis_audit_file)), platform.lease("ingest-ocis")
        look = OcisPoll(tail, intake, repository, lease, platform.clock)
        every = settings.ocis_poll_seconds
        tasks.append(Polling("ocis", look, lease, repository, platform.clock, every).run)
        closing.append(look.close)
    standings = Standings(repository, expected(settings), SWITCHES, platform.clock)
    key = settings.stalwart_webhook_key.get_secret_value()
    return Ingest(
        outflow=Outflow(repository, writer),
        stalwart=StalwartWebhook(key, intake, platform.clock),
        standings=standings,
        tasks=(*tasks, standings.run),
        closing=closing,
    )


def expected(settings: AuditSettings) -> dict[Source, Expected]:
    """The sources that are on, and what is expected of each."""
    found: dict[Source, Expected] = {}
    if settings.authentik_url:
        found["authentik"] = Expected(timedelta(hours=settings.authentik_silent_hours), polled=True)
    if settings.stalwart_webhook_key.get_secret_value():
        found["stalwart"] = Expected(timedelta(hours=settings.stalwart_silent_hours), polled=False)
    if settings.ocis_audit_file:
        found["ocis"] = Expected(timedelta(hours=settings.ocis_silent_hours), polled=True)
    return found
