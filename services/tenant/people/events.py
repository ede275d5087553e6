"""What every event about a person carries."""

from __future__ import annotations

from services.tenant.people.models import Human, Place, changes_between, state_of
from shared.contracts.envelope import Actor, PersonResource


def resource_of(human: Human, place: Place | None = None, partner: str | None = None) -> PersonResource:
    """Return the person as a resource, within ``place`` if something happened there.

    ``partner`` is the partner of a tenant, so that it reads in its own log what happens to its customers' people.
    """
    own = human.partner.slug if human.partner else None
    if place is not None and place.kind == "partner":
        own = place.slug
    return PersonResource(
        type="user",
        id=human.id,
        name=human.name,
        tenant_slug=place.slug if place is not None and place.kind == "tenant" else None,
        partner_slug=partner or own,
    )


def about(
    actor: Actor, before: Human | None, after: Human, place: Place | None = None, partner: str | None = None
) -> dict[str, object]:
    """Return the members that all events of a person's life share."""
    return {
        "actor": actor,
        "resource": resource_of(after, place, partner),
        "version": after.version,
        "state": state_of(after),
        "changes": changes_between(before, after),
    }
