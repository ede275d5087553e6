"""The route of the report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from services.tenant.people.erasure.report.schemas import ErasureView, erasure_view
from services.tenant.people.erasure.report.service import ErasureReports
from shared.app import answer, send
from shared.bodies import StrictRoute
from shared.etags import unless_known
from shared.policy import Operator

router = APIRouter(prefix="/api", tags=["people"], route_class=StrictRoute)


async def _reports(request: Request) -> ErasureReports:
    reports: ErasureReports = request.app.state.deps.erasure_reports
    return reports


@router.get(
    "/users/{person}/erasure", response_model=ErasureView, responses={304: {"description": "Nothing has changed"}}
)
async def read_erasure(
    person: str,
    _: Operator,
    reports: Annotated[ErasureReports, Depends(_reports)],
    if_none_match: Annotated[str | None, Header(max_length=1_000)] = None,
) -> Response:
    """Read who has forgotten an erased person and when, and what remains until when and why."""
    return send(unless_known(answer(erasure_view(await reports.read(person))), if_none_match))
