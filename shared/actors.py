"""Who acts, as events say it."""

from __future__ import annotations

from shared import context
from shared.auth import Person, Principal
from shared.contracts.envelope import Actor


def actor_of(principal: Principal) -> Actor:
    """Return the actor for a principal, with the client's address of the request at hand."""
    if isinstance(principal, Person):
        return Actor(
            type="user",
            id=principal.id,
            email=principal.email,
            ip=context.current().client_ip or None,
            surface=principal.surface,
        )
    return Actor(type="service", id=principal.name)


def system(name: str) -> Actor:
    """Return the actor for what the platform does by itself."""
    return Actor(type="system", id=name)
