"""Events as other services publish them, written from the contracts, and a way to let the partner service hear them."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

from services.partner.consumers import SubscriptionEvents, TenantEvents
from services.partner.customers.repository import CustomerRepository
from services.partner.main import projections_of
from services.partner.repository import AttemptRepository, PartnerRepository
from services.partner.standings.repository import StandingRepository
from services.partner.standings.service import Standings
from services.partner.terminations import Books, Terminations
from shared.clock import SystemClock, rfc3339
from shared.contracts.envelope import CloudEvent
from shared.mongo import Mongo
from shared.outbox import Outbox

_numbers = itertools.count(1)
Said = dict[str, Any]


class Ear:
    """Both consumers of the service; each event has a transaction of its own."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        projections = projections_of(mongo, CustomerRepository(mongo))
        clock = SystemClock()
        standings = Standings(projections, StandingRepository(mongo), clock)
        books = Books(PartnerRepository(mongo), AttemptRepository(mongo), projections.customers)
        ends = Terminations(books, mongo.transactions, Outbox(mongo, "partner", clock), clock, 0)
        self._tenants = TenantEvents(projections, standings, ends)
        self._subscriptions = SubscriptionEvents(projections, standings)

    async def hear(self, *said: Said) -> None:
        """Handle events in one transaction, as a batch of the stream is."""
        events = [CloudEvent.model_validate(one) for one in said]

        async def body(tx: Any) -> None:
            for event in events:
                consumer = self._subscriptions if event.source == "billing" else self._tenants
                await consumer.handle(event, tx)

        await self._mongo.transactions.run(body)


def _event(kind: str, subject: str, at: datetime, state: Said, **more: Any) -> Said:
    source = "billing" if kind.startswith("subscription.") else "tenant"
    what, _, name = subject.partition("s/")
    data = {"actor": {"type": "system", "id": source}, "resource": {"type": what, "id": name}, "state": state, **more}
    number = next(_numbers)
    return {
        "id": f"event-{number}",
        "source": source,
        "type": kind,
        "subject": subject,
        "time": rfc3339(at),
        "sourceseq": number,
        "data": data,
    }


def tenant(slug: str, at: datetime, *, seats_before: int | None = None, **state: Any) -> Said:
    """Return an event of a tenant's life at ``at``; ``seats_before`` makes it a change of seats."""
    known = {
        "id": f"id-of-{slug}",
        "slug": slug,
        "name": slug.title(),
        "plan": "business",
        "cycle": "month",
        "currency": "EUR",
        "seats": 10,
        "domains": [],
        "billing": {},
        "partner": "nordic",
        "status": "active",
        "createdAt": rfc3339(at),
        "updatedAt": rfc3339(at),
        "version": 1,
        **state,
    }
    changes = {} if seats_before is None else {"seats": {"before": seats_before, "after": known["seats"]}}
    return _event("tenant.updated.v1", f"tenants/{slug}", at, known, changes=changes)


def usage(slug: str, at: datetime, seats_used: int, last_sign_in_on: str | None, version: int = 1) -> Said:
    state = {"tenantId": f"id-of-{slug}", "slug": slug, "partner": "nordic", "version": version}
    state |= {"seatsUsed": seats_used, "lastSignInOn": last_sign_in_on}
    return _event("tenant.usage_changed.v1", f"usages/{slug}", at, state, changes={})


def provisioning(slug: str, at: datetime, conditions: dict[str, tuple[str, datetime]], version: int = 1) -> Said:
    """Return an event of a tenant's conditions: {integration: (status, since when)}."""
    told = {
        name: {"status": status, "reason": "R", "message": "", "at": rfc3339(since), "observedGeneration": 1}
        for name, (status, since) in conditions.items()
    }
    state = {"tenantId": f"id-of-{slug}", "slug": slug, "conditions": told, "version": version}
    return _event("tenant.provisioning_changed.v1", f"provisioning/{slug}", at, state, integration="ocis", changes={})


def subscription(slug: str, at: datetime, **state: Any) -> Said:
    known = {
        "id": f"subscription-of-{slug}",
        "tenantId": f"id-of-{slug}",
        "tenantSlug": slug,
        "partner": "nordic",
        "plan": "business",
        "cycle": "month",
        "currency": "EUR",
        "seats": 10,
        "perSeat": 500,
        "arr": 60_000,
        "mrr": 5_000,
        "status": "active",
        "finding": None,
        "paymentFailedAt": None,
        "startedAt": rfc3339(at),
        "updatedAt": rfc3339(at),
        "version": 1,
        **state,
    }
    return _event("subscription.updated.v1", f"subscriptions/{known['id']}", at, known, changes={})


def answered(partner: str, version: int, customers: int, at: datetime) -> Said:
    told = _event("tenant.partner_answered.v1", f"partners/{partner}", at, {})
    del told["data"]["state"]
    told["data"] |= {"partner": partner, "partnerVersion": version, "customers": customers}
    return told
