"""Routes of archives; all for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from services.audit.canonical import MAX_INTEGER
from services.audit.cold.schemas import ArchiveBatch, ArchivePage, ArchiveRun
from services.audit.cold.service import ArchiveService
from shared.bodies import StrictRoute
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import Operator

router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=StrictRoute)


async def _archives(request: Request) -> ArchiveService:
    service: ArchiveService = request.app.state.deps.archives
    return service


Archives = Annotated[ArchiveService, Depends(_archives)]
StartSeq = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="`startSeq` of the batch.")]


@router.get("/archives", response_model=ArchivePage)
async def list_archives(
    request: Request,
    response: Response,
    _caller: Operator,
    archives: Archives,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> ArchivePage:
    """List the batches in cold storage, newest first."""
    page = await archives.list_across_tenants(cursor, limit)
    response.headers.update(link_to(str(request.url), page.next))
    return ArchivePage(items=[ArchiveBatch.of(row) for row in page.items], next=page.next)


@router.post("/archive/run", response_model=ArchiveRun)
async def run_archive(caller: Operator, archives: Archives) -> ArchiveRun:
    """Archive now what is old enough, whatever the schedule says."""
    return ArchiveRun.of(await archives.run(caller))


@router.post("/archives/{start_seq}/restore", response_model=ArchiveBatch)
async def restore_archive(caller: Operator, archives: Archives, start_seq: StartSeq) -> ArchiveBatch:
    """Put a batch back into the database, after verifying it."""
    return ArchiveBatch.of(await archives.restore(start_seq, caller))
