"""What the API of saved reports takes and gives."""

from __future__ import annotations

from typing import Any

from services.partner.reports.saved.repository import SavedReport
from services.partner.reports.saved.service import Result
from services.partner.reports.saved.vocabulary import CustomersDefinition, Definition, SubscriptionsDefinition
from services.partner.reports.schemas import AsOf
from services.partner.reports.tables import Table
from shared.schemas import Input, Text, Timestamp, View


class SaveReport(Input):
    """A report to keep; its name is unique among the partner's, whatever its capitals."""

    name: Text
    definition: Definition

    def kept(self) -> dict[str, Any]:
        """Return the definition in the form in which it is kept and shown."""
        found: CustomersDefinition | SubscriptionsDefinition = self.definition
        return found.model_dump(mode="json", by_alias=True, exclude_none=True)


class SavedReportView(View):
    id: str
    name: str
    definition: dict[str, Any]
    created_at: Timestamp
    version: int


class SavedReportList(View):
    """A page of a partner's reports by name."""

    items: list[SavedReportView]
    next: str | None


class ReportResult(View):
    """Rows in the order of ``columns``. ``complete`` is false where there are more than 1,000."""

    as_of: AsOf
    name: str
    columns: list[str]
    rows: list[list[str | int | None]]
    complete: bool


def saved_view(report: SavedReport) -> SavedReportView:
    """Return a report as the API shows it."""
    return SavedReportView(
        id=report.id,
        name=report.name,
        definition=report.definition,
        created_at=report.created_at,
        version=report.version,
    )


def result_view(result: Result) -> ReportResult:
    """Return what a report says."""
    return ReportResult(
        as_of=result.as_of,
        name=result.report.name,
        columns=list(result.columns),
        rows=[list(row) for row in result.rows],
        complete=result.complete,
    )


def result_table(view: ReportResult) -> Table:
    """Return what a report says as a table; the file is not called what somebody typed."""
    return Table("report", view.columns, view.rows)
