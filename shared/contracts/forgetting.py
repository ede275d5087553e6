"""Answers to ``user.erased.v1``: each service says for itself what it has forgotten, under its own first word."""

from __future__ import annotations

from typing import ClassVar

from shared.contracts.envelope import Event, PersonResource


class PersonForgotten(Event):
    """The common body of ``<service>.person_forgotten.v1``: a service keeps nothing personal of an erased person.

    The resource is the person without a name.

    Attributes:
        events: events in the service's outbox that were blanked.
        answers: stored answers to idempotent requests that were blanked.
    """

    summary: ClassVar[str] = "A service has forgotten a person who was erased."

    resource: PersonResource
    events: int
    answers: int


class PartnerPersonForgotten(PersonForgotten):
    type: ClassVar[str] = "partner.person_forgotten.v1"


class BillingPersonForgotten(PersonForgotten):
    type: ClassVar[str] = "billing.person_forgotten.v1"


class FlagsPersonForgotten(PersonForgotten):
    type: ClassVar[str] = "flag.person_forgotten.v1"


class HealthPersonForgotten(PersonForgotten):
    type: ClassVar[str] = "health.person_forgotten.v1"


class AuditPersonForgotten(PersonForgotten):
    """The log has destroyed the person's key: what it committed to stays, and nobody can open it.

    Attributes:
        keys: data keys destroyed with the erasure: the person's, those of their addresses, and those of unreadable
            messages, which may name anybody. Of erasures that are chained in one batch each counts the last two.
    """

    type: ClassVar[str] = "audit.person_forgotten.v1"

    keys: int


BY_SERVICE: dict[str, type[PersonForgotten]] = {
    "partner": PartnerPersonForgotten,
    "billing": BillingPersonForgotten,
    "flags": FlagsPersonForgotten,
    "health": HealthPersonForgotten,
    "audit": AuditPersonForgotten,
}
"""Whoever hears of an erasure answers it. The tenant service says ``user.erased.v1`` and keeps these answers."""
