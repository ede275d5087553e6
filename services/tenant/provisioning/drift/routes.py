"""Routes of drift: operators only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.tenant.provisioning.drift.models import Acceptance
from services.tenant.provisioning.drift.schemas import (
    AcceptanceView,
    AcceptDrift,
    DriftList,
    acceptance_view,
    drift_list,
)
from services.tenant.provisioning.drift.service import DriftService
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import Operator

router = APIRouter(prefix="/api/tenants/{slug}/drift", tags=["tenants"], route_class=StrictRoute)


async def _service(request: Request) -> DriftService:
    service: DriftService = request.app.state.deps.drift
    return service


Drift = Annotated[DriftService, Depends(_service)]


def _accepted(made: Acceptance) -> Answer:
    return answer(acceptance_view(made), 201)


@router.get("", response_model=DriftList)
async def list_drift(
    request: Request,
    slug: str,
    _caller: Operator,
    drift: Drift,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List what is otherwise in the integrations and stays so: what was accepted, and what is left alone."""
    seen = await drift.page(slug, limit, cursor)
    reply = answer(drift_list(seen))
    reply.headers.update(link_to(str(request.url), seen.acceptances.next))
    return send(reply)


@router.post("/acceptances", status_code=201, response_model=AcceptanceView)
async def accept_drift(slug: str, body: AcceptDrift, caller: Operator, drift: Drift, claim: Claimed) -> Response:
    """Accept a difference, with a reason and until a date: it is listed instead of repaired."""

    return send(_accepted(await drift.accept(caller, slug, body.to_command(), claim.answering(_accepted))))


@router.delete("/acceptances/{acceptance}", status_code=204)
async def end_acceptance(slug: str, acceptance: str, caller: Operator, drift: Drift) -> Response:
    """End an acceptance: the difference is repaired."""
    await drift.end(caller, slug, acceptance)
    return Response(status_code=204)
