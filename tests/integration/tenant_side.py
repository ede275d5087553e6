"""The tenant service's side of a partner's end, without sockets and without NATS: real transactions, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.tenant.consumers import PartnerEvents
from services.tenant.models import Tenant
from services.tenant.people.repository import PeopleRepository
from services.tenant.projections.repository import PartnerProjection, PriceProjection
from services.tenant.provisioning.intents import Intents
from services.tenant.provisioning.repository import ProvisioningRepository
from services.tenant.records import Records
from services.tenant.repository import INDEXES, PartnerMoves, TenantRepository
from services.tenant.service import NewTenant, TenantService
from services.tenant.terminations import PartnerBooks, PartnerEnds
from shared.auth import Person
from shared.clock import SystemClock
from shared.contracts.envelope import CloudEvent
from shared.contracts.tenant import BillingContact, OwnershipState
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.mongo import Mongo
from shared.outbox import Outbox
from shared.testing import partner_person
from tests.integration.ending import PRICE

CLOCK = SystemClock()


@dataclass
class TenantSide:
    """A replica of the tenant service: its use cases and its consumer."""

    mongo: Mongo
    service: TenantService
    events: PartnerEvents
    ends: PartnerEnds

    @classmethod
    def over(cls, mongo: Mongo) -> TenantSide:
        tenants, partners = TenantRepository(mongo), PartnerProjection(mongo)
        intents = Intents(ProvisioningRepository(mongo), ())
        outbox = Outbox(mongo, "tenant", CLOCK)
        books = PartnerBooks(tenants, partners, PartnerMoves(mongo))
        ends = PartnerEnds(books, intents, mongo.transactions, outbox, CLOCK)
        records = Records(
            tenants=tenants,
            partners=partners,
            prices=PriceProjection(mongo),
            people=PeopleRepository(mongo),
            intents=intents,
            transactions=mongo.transactions,
            outbox=outbox,
            clock=CLOCK,
        )
        return cls(mongo, TenantService(records), PartnerEvents(partners, ends), ends)

    async def prepare(self) -> None:
        await self.mongo.ensure_indexes(INDEXES)
        await self.mongo.db["prices"].insert_one({"_id": "p1", **PRICE})

    async def hear(self, event: CloudEvent) -> None:
        """Handle an event as the consumer does: in a transaction of its own."""
        await self.mongo.transactions.run(lambda tx: self.events.handle(event, tx))

    async def create(self, partner: str, slug: str) -> None:
        new = NewTenant(slug, slug, "business", "month", "EUR", 5, (), BillingContact())
        caller: Person = partner_person(partner)
        await self.service.create(caller, new, IdempotencyClaim(self.mongo, CLOCK, None, ""))

    async def own(self, partner: str, count: int) -> None:
        """Let ``partner`` have customers already."""
        now = CLOCK.now()
        repository = TenantRepository(self.mongo)

        async def body(tx: Any) -> None:
            for number in range(count):
                tenant = Tenant(
                    id=new_id(),
                    slug=f"{partner}-{number:03}",
                    name="Customer",
                    plan="business",
                    cycle="month",
                    currency="EUR",
                    seats=5,
                    partner=partner,
                    status="active",
                    created_at=now,
                    updated_at=now,
                    ownership=(OwnershipState(partner=partner, since=now),),
                )
                await repository.insert(tenant, tx)

        await self.mongo.transactions.run(body)

    async def count(self, partner: str) -> int:
        return await self.mongo.db["tenants"].count_documents({"partner": partner})

    async def answers(self) -> dict[tuple[str, int], list[int]]:
        """Return every answer that was given: {(partner, version): numbers of customers}."""
        found: dict[tuple[str, int], list[int]] = {}
        async for row in self.mongo.db["outbox"].find({"type": "tenant.partner_answered.v1"}):
            told = row["envelope"]["data"]
            found.setdefault((told["partner"], told["partnerVersion"]), []).append(told["customers"])
        return found


def partner_event(slug: str, version: int, status: str, to: str | None = None, kind: str = "") -> CloudEvent:
    """Return an event of the partner service, written from the published contract."""
    kinds = {"active": "created", "terminating": "termination_started", "terminated": "terminated"}
    moment = "2026-11-22T12:00:00.000Z"
    started = {"requestedAt": moment, "transferTo": to, "terminatedAt": None}
    state = {
        "id": f"id-of-{slug}",
        "slug": slug,
        "name": slug,
        "domain": None,
        "contact": {},
        "contract": {"startsOn": "2026-01-01", "termMonths": 12, "margins": []},
        "status": status,
        "createdAt": moment,
        "updatedAt": moment,
        "version": version,
        "termination": started if status == "terminating" else None,
    }
    event_type = f"partner.{kind or kinds.get(status, status)}.v1"
    data = {"actor": {"type": "user", "id": "p1"}, "resource": {"type": "partner", "id": slug}, "state": state}
    envelope = {"id": new_id(), "source": "partner", "type": event_type, "subject": f"partners/{slug}"}
    return CloudEvent.model_validate({**envelope, "time": moment, "sourceseq": 1, "data": {**data, "changes": {}}})
