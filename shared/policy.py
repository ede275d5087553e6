"""Authorisation that reads like policy: ``principal: Operator`` in a route's signature is the rule.

The edge (``shared.app``) has already verified the internal token; these aliases only decide. They answer in the
order of the access table: 401, then 403 ``operator_token_required``, then what the service itself decides (404 for
out of scope, 403 ``insufficient_role`` for in scope but too low).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from shared.auth import Person, Principal, ServicePrincipal
from shared.errors import Forbidden, InsufficientRole, OperatorTokenRequired, Unauthenticated


class ServiceOnly(Forbidden):
    code, title = "service_only", "Only another service of the platform may call this"


class PartnerTokenRequired(Forbidden):
    code, title = "partner_token_required", "Only people of a partner do this"


def principal_of(request: Request) -> Principal:
    """Return who calls, as the edge verified it."""
    principal: Principal | None = request.scope.get("dezky.principal")
    if principal is None:
        raise Unauthenticated("send the request through the gateway")
    return principal


def require_person(request: Request) -> Person:
    principal = principal_of(request)
    if not isinstance(principal, Person):
        raise Forbidden("this operation is for people")
    return principal


def require_operator(request: Request) -> Person:
    person = require_person(request)
    if person.surface != "operator":
        raise OperatorTokenRequired("sign in on the operator surface")
    if not person.platform_admin:
        raise InsufficientRole("this operation is for platform operators")
    return person


def require_partner_person(request: Request) -> Person:
    """A human of a partner, on the portal; operators do not do what partners do."""
    person = require_person(request)
    if person.is_operator:
        raise PartnerTokenRequired("operators do not create tenants; a partner's people do")
    if person.partner is None:
        raise InsufficientRole("this operation is for people of a partner")
    return person


def from_services(*names: str) -> Callable[[Request], Awaitable[ServicePrincipal]]:
    """Return a dependency for an ``/internal`` route: only the named processes may call it."""

    async def require(request: Request) -> ServicePrincipal:
        principal = principal_of(request)
        if not isinstance(principal, ServicePrincipal) or principal.name not in names:
            raise ServiceOnly(f"this route is for: {', '.join(names)}")
        return principal

    return require


# Asynchronous although nothing is waited for: FastAPI sends a plain function to a thread, which costs more than it.
async def _any_person(request: Request) -> Person:
    return require_person(request)


async def _operator(request: Request) -> Person:
    return require_operator(request)


async def _partner_person(request: Request) -> Person:
    return require_partner_person(request)


def is_operators_only(dependency: Callable[..., object]) -> bool:
    """Whether a route's dependency lets operators in and nobody else."""
    return dependency is _operator


def is_partners_only(dependency: Callable[..., object]) -> bool:
    """Whether a route's dependency lets people of a partner in and nobody else."""
    return dependency is _partner_person


AnyPerson = Annotated[Person, Depends(_any_person)]
Operator = Annotated[Person, Depends(_operator)]
PartnerPerson = Annotated[Person, Depends(_partner_person)]
