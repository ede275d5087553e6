"""Who comes near partners. For tenants' people there are none: every route, also one that writes, answers them 404."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from shared.auth import Person
from shared.errors import InsufficientRole, NotFound, OperatorTokenRequired
from shared.policy import require_person


async def _require_reader(request: Request) -> Person:
    person = require_person(request)
    if not person.is_operator and person.partner is None:
        raise NotFound
    return person


async def _require_writer(request: Request) -> Person:
    person = require_person(request)
    if person.is_operator:
        return person
    if person.partner is None and not person.platform_admin:
        raise NotFound
    if person.surface != "operator":
        raise OperatorTokenRequired("sign in on the operator surface")
    if person.partner is None or request.path_params.get("slug", person.partner.slug) != person.partner.slug:
        raise NotFound
    raise InsufficientRole("this operation is for platform operators")


Reader = Annotated[Person, Depends(_require_reader)]
"""An operator, or somebody of a partner."""

Writer = Annotated[Person, Depends(_require_writer)]
"""An operator. Partners' people are told so; to tenants' people nothing is here."""
