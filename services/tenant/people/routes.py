"""Routes of people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.tenant.people.directory import Directory
from services.tenant.people.schemas import PrincipalView, ResolvePrincipal, principal_view
from shared.policy import from_services

internal = APIRouter(prefix="/internal", include_in_schema=False)


def _directory(request: Request) -> Directory:
    directory: Directory = request.app.state.deps.directory
    return directory


@internal.post("/principals", dependencies=[Depends(from_services("gateway"))])
async def resolve_principal(
    body: ResolvePrincipal, directory: Annotated[Directory, Depends(_directory)]
) -> PrincipalView:
    """Return the person behind a verified token; a first sign-in creates one."""
    return principal_view(await directory.resolve(body.to_signed_in()), body)
