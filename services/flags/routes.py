"""Routes of flags."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.flags.models import Flag
from services.flags.schemas import (
    CreateFlag,
    EvaluateFor,
    FlagList,
    FlagView,
    PreviewView,
    UpdateFlag,
    VerdictView,
    preview_view,
    verdict_view,
    view_of,
)
from services.flags.service import FlagService
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.clock import Clock
from shared.contracts.flag import FlagStatusName
from shared.etags import ExpectedVersion
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to
from shared.policy import AnyPerson, Operator

router = APIRouter(prefix="/api", tags=["flags"], route_class=StrictRoute)


async def _service(request: Request) -> FlagService:
    service: FlagService = request.app.state.deps.flags
    return service


async def _clock(request: Request) -> Clock:
    clock: Clock = request.app.state.platform.clock
    return clock


Flags = Annotated[FlagService, Depends(_service)]


def _created(flag: Flag) -> Answer:
    return answer(view_of(flag), 201, version=flag.version, location=f"/api/flags/{flag.key}")


def _current(flag: Flag) -> Answer:
    return answer(view_of(flag), version=flag.version)


@router.post("/flags", status_code=201, response_model=FlagView)
async def create_flag(
    body: CreateFlag, caller: Operator, flags: Flags, clock: Annotated[Clock, Depends(_clock)], claim: Claimed
) -> Response:
    """Create a flag."""
    return send(_created(await flags.create(caller, body.to_flag(clock.now()), claim.answering(_created))))


@router.get("/flags", response_model=FlagList)
async def list_flags(
    request: Request, _: Operator, flags: Flags, limit: Limit = DEFAULT_LIMIT, cursor: CursorParam = None
) -> Response:
    """List flags by key."""
    page = await flags.page(limit, cursor)
    reply = answer(FlagList(items=[view_of(flag) for flag in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.post("/flags/evaluate")
async def evaluate_flags(body: EvaluateFor, caller: AnyPerson, flags: Flags) -> dict[str, bool]:
    """Evaluate every flag for a tenant within the caller's scope."""
    return await flags.evaluate(caller, body.tenant_slug)


@router.get("/flags/{key}", response_model=FlagView)
async def read_flag(key: str, _: Operator, flags: Flags) -> Response:
    """Read one flag."""
    return send(_current(await flags.read(key)))


@router.patch("/flags/{key}", response_model=FlagView)
async def update_flag(
    key: str, body: UpdateFlag, caller: Operator, flags: Flags, expected: ExpectedVersion
) -> Response:
    """Change a flag."""
    return send(_current(await flags.update(caller, key, body.to_changes(), body.note, expected)))


@router.delete("/flags/{key}", status_code=204)
async def delete_flag(key: str, caller: Operator, flags: Flags, expected: ExpectedVersion) -> None:
    """Delete a flag; it evaluates to false from now on."""
    await flags.delete(caller, key, expected)


@router.post("/flags/{key}/kill", response_model=FlagView)
async def kill_flag(key: str, caller: Operator, flags: Flags, expected: ExpectedVersion, claim: Claimed) -> Response:
    """Switch a flag off for everybody at once."""
    return send(_current(await flags.kill(caller, key, expected, claim.answering(_current))))


@router.get("/flags/{key}/preview")
async def preview_flag(
    key: str,
    _: Operator,
    flags: Flags,
    state: FlagStatusName | None = None,
    pct: Annotated[int | None, Query(ge=0, le=100)] = None,
) -> PreviewView:
    """Say which and how many tenants the flag reaches, with another state or percentage if given."""
    return preview_view(await flags.preview(key, state, pct))


@router.post("/flags/{key}/explain")
async def explain_flag(key: str, body: EvaluateFor, caller: Operator, flags: Flags) -> VerdictView:
    """Say a flag's value for a tenant, and why."""
    return verdict_view(await flags.explain(caller, key, body.tenant_slug))
