"""Where Stalwart delivers its events, and where operators see how every source is doing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.audit.ingest.examples import SIGNED_BATCH
from services.audit.ingest.parts import Ingest
from services.audit.ingest.schemas import SourceList, SourceView
from shared.errors import TooLarge
from shared.policy import Operator

MOST_BYTES = 1024 * 1024
PUBLIC = "/webhooks/stalwart"

webhooks = APIRouter(tags=["audit"])
sources = APIRouter(prefix="/api/audit", tags=["audit"])


async def _ingest(request: Request) -> Ingest:
    parts: Ingest = request.app.state.deps.ingest
    return parts


async def _raw(request: Request) -> bytes:
    """The body as it came. Raises TooLarge before it has been read whole."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLarge(f"a delivery may have {MOST_BYTES} bytes")
    return bytes(body)


Parts = Annotated[Ingest, Depends(_ingest)]


@webhooks.post(PUBLIC, status_code=204, openapi_extra=SIGNED_BATCH)
async def receive_stalwart_events(request: Request, ingest: Parts, body: Annotated[bytes, Depends(_raw)]) -> Response:
    """Take in a batch of Stalwart's events."""
    await ingest.stalwart.deliver(body, request.headers.getlist("x-signature"))
    return Response(status_code=204)


@sources.get("/sources", response_model=SourceList)
async def list_sources(_caller: Operator, ingest: Parts) -> SourceList:
    """Show how each source outside the platform is doing."""
    return SourceList(items=[SourceView.of(standing) for standing in await ingest.standings.all()])
