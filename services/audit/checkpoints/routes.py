"""Routes of checkpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.audit.checkpoints.schemas import CheckpointView, view_of
from services.audit.checkpoints.service import CheckpointService
from services.audit.checkpoints.writer import Made
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.idempotency import Answer
from shared.policy import Operator

router = APIRouter(prefix="/api", tags=["audit"], route_class=StrictRoute)


async def _checkpoints(request: Request) -> CheckpointService:
    service: CheckpointService = request.app.state.deps.checkpoints
    return service


Checkpoints = Annotated[CheckpointService, Depends(_checkpoints)]


def _made(made: Made) -> Answer:
    return answer(view_of(made.row), 201 if made.is_new else 200)


@router.get("/audit/checkpoint/latest", response_model=CheckpointView)
async def read_latest_checkpoint(_caller: Operator, checkpoints: Checkpoints) -> Response:
    """Read the newest checkpoint."""
    return send(answer(view_of(await checkpoints.latest())))


@router.post("/audit/checkpoint", status_code=201, response_model=CheckpointView)
async def make_checkpoint(_caller: Operator, checkpoints: Checkpoints, claim: Claimed) -> Response:
    """Sign what the log is now."""
    return send(_made(await checkpoints.make(claim.answering(_made))))
