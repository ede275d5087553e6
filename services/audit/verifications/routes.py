"""Routes of verifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.audit.schemas import VerdictView
from services.audit.verifications.schemas import JobView, RequestVerification, view_of
from services.audit.verifications.service import Job, VerificationService
from shared.app import Claimed, send
from shared.bodies import StrictRoute
from shared.idempotency import Answer
from shared.policy import Operator

router = APIRouter(prefix="/api", tags=["audit"], route_class=StrictRoute)


async def _verifications(request: Request) -> VerificationService:
    service: VerificationService = request.app.state.deps.verifications
    return service


Verifications = Annotated[VerificationService, Depends(_verifications)]


def _accepted(job: Job) -> Answer:
    headers = {"content-type": "application/json", "location": f"/api/audit/verifications/{job.id}"}
    return Answer(202, headers, view_of(job).rendered())


@router.get("/audit/verify", response_model=VerdictView)
async def verify(_caller: Operator, verifications: Verifications) -> Response:
    """Verify the whole log and name the first place where it does not hold."""
    verdict = await verifications.verify()
    view = VerdictView.of(verdict, list(verdict.findings))
    return Response(view.rendered(), media_type="application/json")


@router.post("/audit/verifications", status_code=202, response_model=JobView)
async def request_verification(
    body: RequestVerification, _caller: Operator, verifications: Verifications, claim: Claimed
) -> Response:
    """Ask for a verification that takes longer than anybody waits."""
    return send(_accepted(await verifications.request(body.scope(), claim.answering(_accepted))))


@router.get("/audit/verifications/{verification}", response_model=JobView)
async def read_verification(verification: str, _caller: Operator, verifications: Verifications) -> Response:
    """Read how far a verification is, or what it found."""
    return Response(view_of(await verifications.read(verification)).rendered(), media_type="application/json")
