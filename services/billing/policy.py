"""Who reads the catalog: operators and partner people."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from shared.auth import Person
from shared.errors import InsufficientRole
from shared.policy import require_person


async def require_price_reader(request: Request) -> Person:
    person = require_person(request)
    if not person.is_operator and person.partner is None:
        raise InsufficientRole("the catalog is for operators and partners")
    return person


PriceReader = Annotated[Person, Depends(require_price_reader)]
