"""Routes of proofs and bundles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.audit.proofs.bundles import Bundles
from services.audit.proofs.examples import BUNDLE
from services.audit.proofs.schemas import (
    CheckpointRef,
    ConsistencyFilters,
    ConsistencyView,
    ExportFilters,
    InclusionFilters,
    InclusionView,
    RebuiltView,
)
from services.audit.proofs.service import ProofService
from shared.bodies import StrictRoute
from shared.policy import Operator
from shared.streams import Stream

router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=StrictRoute)


async def _proofs(request: Request) -> ProofService:
    service: ProofService = request.app.state.deps.proofs
    return service


async def _bundles(request: Request) -> Bundles:
    bundles: Bundles = request.app.state.deps.bundles
    return bundles


Proofs = Annotated[ProofService, Depends(_proofs)]


@router.get("/proof/inclusion")
async def prove_inclusion(
    _caller: Operator, proofs: Proofs, filters: Annotated[InclusionFilters, Query()]
) -> InclusionView:
    """Prove that an entry is in the log that a checkpoint covers."""
    return InclusionView.of(await proofs.inclusion(filters.seq, filters.size))


@router.get("/proof/consistency")
async def prove_consistency(
    _caller: Operator, proofs: Proofs, filters: Annotated[ConsistencyFilters, Query()]
) -> ConsistencyView:
    """Prove that the log only grew between two sizes."""
    return ConsistencyView.of(await proofs.consistency(filters.first, filters.second))


@router.post("/proof/rebuild")
async def rebuild_tree(_caller: Operator, proofs: Proofs) -> RebuiltView:
    """Make the tree of proofs anew from the entries, up to the newest checkpoint."""
    leaves, checkpoint = await proofs.rebuild()
    return RebuiltView(leaves=leaves, checkpoint=CheckpointRef.of(checkpoint))


@router.get("/export", response_class=Response, responses=BUNDLE)
async def export_bundle(
    _caller: Operator,
    bundles: Annotated[Bundles, Depends(_bundles)],
    filters: Annotated[ExportFilters, Query()],
) -> Response:
    """Export a part of the log as a bundle that verifies offline."""
    bundle = await bundles.begin(filters.selection())
    headers = {"content-type": "application/jsonl", "content-disposition": f'attachment; filename="{bundle.name}"'}
    return Stream(bundle.pieces, headers)
