"""Routes of reports. Owner and staff read those of their own partner, operators all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.partner.policy import Reader
from services.partner.reports import schemas
from services.partner.reports.saved.repository import SavedReport
from services.partner.reports.saved.schemas import (
    ReportResult,
    SavedReportList,
    SavedReportView,
    SaveReport,
    result_table,
    result_view,
    saved_view,
)
from services.partner.reports.saved.service import SavedReportService
from services.partner.reports.service import ReportService
from services.partner.reports.tables import ReportForm
from services.partner.standings.health import Level
from shared.app import Claimed, answer, send
from shared.bodies import StrictRoute
from shared.idempotency import Answer
from shared.paging import DEFAULT_LIMIT, CursorParam, Limit, link_to

router = APIRouter(prefix="/api/partners/{slug}/reports", tags=["partner reports"], route_class=StrictRoute)


async def _reports(request: Request) -> ReportService:
    service: ReportService = request.app.state.deps.reports
    return service


async def _saved(request: Request) -> SavedReportService:
    service: SavedReportService = request.app.state.deps.saved
    return service


Reports = Annotated[ReportService, Depends(_reports)]
Saved = Annotated[SavedReportService, Depends(_saved)]
Most = Annotated[int, Query(ge=1, le=100, description="Customers per currency.")]
Months = Annotated[int, Query(ge=1, le=60, description="Cohorts: this month and those before it.")]


@router.get("/health", response_model=schemas.HealthReport)
async def health(
    slug: str,
    caller: Reader,
    reports: Reports,
    form: ReportForm,
    level: Level | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """Say which customers are at risk, to watch, or healthy, and why."""
    report = schemas.health_report(await reports.health(caller, slug, level, limit, cursor))
    return send(form.answer(report, schemas.health_table(report), report.as_of, report.next))


@router.get("/revenue-by-plan", response_model=schemas.RevenueReport)
async def revenue_by_plan(slug: str, caller: Reader, reports: Reports, form: ReportForm) -> Response:
    """Say the live revenue by currency and plan."""
    report = schemas.revenue_report(*await reports.revenue(caller, slug))
    return send(form.answer(report, schemas.revenue_table(report), report.as_of))


@router.get("/top-customers", response_model=schemas.LeadersReport)
async def top_customers(slug: str, caller: Reader, reports: Reports, form: ReportForm, limit: Most = 10) -> Response:
    """Name the customers with the most revenue in each currency."""
    report = schemas.leaders_report(*await reports.leaders(caller, slug, limit))
    return send(form.answer(report, schemas.leaders_table(report), report.as_of))


@router.get("/cohorts", response_model=schemas.CohortReport)
async def cohorts(slug: str, caller: Reader, reports: Reports, form: ReportForm, months: Months = 12) -> Response:
    """Say how many of those who came in a month are still customers, month by month."""
    report = schemas.cohort_report(*await reports.cohorts(caller, slug, months))
    return send(form.answer(report, schemas.cohort_table(report), report.as_of))


def _kept(report: SavedReport) -> Answer:
    location = f"/api/partners/{report.partner}/reports/custom/{report.id}"
    return answer(saved_view(report), 201, version=report.version, location=location)


@router.get("/custom", response_model=SavedReportList)
async def list_saved(
    request: Request,
    slug: str,
    caller: Reader,
    saved: Saved,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorParam = None,
) -> Response:
    """List the reports that a partner keeps, by name."""
    page = await saved.page(caller, slug, limit, cursor)
    reply = answer(SavedReportList(items=[saved_view(report) for report in page.items], next=page.next))
    reply.headers.update(link_to(str(request.url), page.next))
    return send(reply)


@router.post("/custom", status_code=201, response_model=SavedReportView)
async def save_report(slug: str, body: SaveReport, caller: Reader, saved: Saved, claim: Claimed) -> Response:
    """Keep a report, at most 50 per partner."""
    return send(_kept(await saved.save(caller, slug, body.name, body.kept(), claim.answering(_kept))))


@router.get("/custom/{id}", response_model=SavedReportView)
async def read_saved(slug: str, id: str, caller: Reader, saved: Saved) -> Response:  # noqa: A002
    """Read the definition of a report."""
    report = await saved.read(caller, slug, id)
    return send(answer(saved_view(report), version=report.version))


@router.delete("/custom/{id}", status_code=204)
async def remove_saved(slug: str, id: str, caller: Reader, saved: Saved) -> Response:  # noqa: A002
    """Forget a report."""
    await saved.remove(caller, slug, id)
    return Response(status_code=204)


@router.post("/custom/{id}/run", response_model=ReportResult)
async def run_saved(slug: str, id: str, caller: Reader, saved: Saved, form: ReportForm) -> Response:  # noqa: A002
    """Say what a report says now."""
    view = result_view(await saved.run(caller, slug, id))
    return send(form.answer(view, result_table(view), view.as_of))
