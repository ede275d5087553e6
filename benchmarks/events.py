"""Events as the tenant service publishes them: 50 tenants of two partners, changed by 20 people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson

from services.audit.facts import interpret
from services.audit.models import Fact
from shared.clock import rfc3339
from shared.contracts.envelope import Actor, Change, Resource
from shared.contracts.tenant import BillingContact, TenantChanges, TenantState, TenantUpdated
from shared.ids import new_id

_TENANTS = 50
_PEOPLE = 20
_MADE = datetime(2026, 11, 22, 12, tzinfo=UTC)


def updated(number: int) -> TenantUpdated:
    """Return the change ``number``: a new name and a new billing contact, which is personal; also its version."""
    slug = f"tenant-{number % _TENANTS:02}"
    partner = "nordic" if number % 2 else "fjord"
    person = number % _PEOPLE
    contact = BillingContact(contact=f"Erna Muster {number % 7}", company="Acme", address=f"Musterweg {number % 9}")
    return TenantUpdated(
        actor=Actor(
            type="user",
            id=f"0198c0de-0000-7000-8000-0000000000{person:02}",
            email=f"person-{person}@{partner}.example",
            ip=f"203.0.113.{person}",
            surface="portal",
        ),
        resource=Resource(type="tenant", id=slug, name=slug.title(), tenant_slug=slug, partner_slug=partner),
        version=number,
        state=TenantState(
            id=f"id-of-{slug}",
            slug=slug,
            name=f"Name {number}",
            plan="business",
            cycle="month",
            currency="EUR",
            seats=25,
            domains=(),
            billing=contact,
            partner=partner,
            status="active",
            created_at=_MADE,
            updated_at=_MADE,
            version=number,
        ),
        changes=TenantChanges(
            name=Change[str](before=f"Name {number - 1}", after=f"Name {number}"),
            billing=Change[BillingContact](before=BillingContact(company="Acme"), after=contact),
        ),
    )


def facts(first: int, count: int) -> list[Fact]:
    """Return the facts that the audit service makes of ``count`` such events, as they come off the stream."""
    made = []
    for number in range(first, first + count):
        event = updated(number)
        moment = _MADE + timedelta(milliseconds=number)
        envelope = {
            "specversion": "1.0",
            "id": new_id(),
            "source": "tenant",
            "type": event.type,
            "subject": event.subject,
            "time": rfc3339(moment),
            "datacontenttype": "application/json",
            "sourceseq": number,
            "data": event.model_dump(mode="json", by_alias=True),
        }
        fact = interpret(event.type, orjson.dumps(envelope), moment)
        if fact.fields["action"] != "tenant.updated":
            raise AssertionError(f"the event breaks its contract: {fact.fields['metadata']}")
        made.append(fact)
    return made
