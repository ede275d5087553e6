"""How a service's projections stand, for the health service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from shared.policy import from_services
from shared.projections.models import Standing
from shared.schemas import Timestamp, View

if TYPE_CHECKING:
    from shared.projections.keeper import Keeper


class DifferenceView(View):
    """A row that is not what its owner says; ``names`` are the fields that differ."""

    kind: str
    row: str
    ours: int | None
    theirs: int | None
    names: list[str]


class ProjectionView(View):
    """A projection: ``differences`` by kind, with the first rows, as of ``comparedAt``.

    ``more`` says that the counts are the least there can be; ``trouble`` why the newest comparison did not end.
    """

    name: str
    owner: str
    generation: int
    building: int | None
    compared_at: Timestamp | None
    differences: dict[str, int]
    rows: list[DifferenceView]
    more: bool
    trouble: str | None


class ProjectionList(View):
    items: list[ProjectionView]


def router_of(keeper: Keeper) -> APIRouter:
    """Return the routes of a service that keeps projections."""
    router = APIRouter(prefix="/internal", include_in_schema=False)

    @router.get("/projections", dependencies=[Depends(from_services("health"))])
    async def projections() -> ProjectionList:
        """Say how every projection stands."""
        standings = await keeper.standings()
        return ProjectionList(
            items=[view_of(name, keeper.projections[name].spec.owner, found) for name, found in standings.items()]
        )

    return router


def view_of(name: str, owner: str, standing: Standing) -> ProjectionView:
    """Return a projection as the health service sees it."""
    pointer, findings = standing.pointer, standing.findings
    return ProjectionView(
        name=name,
        owner=owner,
        generation=pointer.current,
        building=None if pointer.building is None else pointer.building.generation,
        compared_at=standing.compared_at,
        differences=dict(findings.counts),
        rows=[
            DifferenceView(kind=row.kind, row=row.row, ours=row.ours, theirs=row.theirs, names=list(row.names))
            for row in findings.rows
        ],
        more=findings.more,
        trouble=findings.trouble,
    )
