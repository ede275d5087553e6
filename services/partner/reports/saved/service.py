"""Keeping, listing, removing and running a partner's own reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.partner.reports.models import TooManySavedReports
from services.partner.reports.saved.repository import Figures, SavedReport, SavedReportRepository
from services.partner.reports.saved.vocabulary import (
    MAX_ROWS,
    CustomersDefinition,
    SubscriptionsDefinition,
    columns_of,
    parse_definition,
)
from services.partner.repository import PartnerRepository
from services.partner.scope import Scope
from services.partner.standings.repository import StandingRepository
from shared.actors import actor_of
from shared.auth import Person
from shared.clock import Clock
from shared.contracts.envelope import Resource
from shared.contracts.partner import PartnerReportRemoved, PartnerReportSaved, SavedReportState
from shared.errors import NotFound
from shared.idempotency import IdempotencyClaim
from shared.ids import new_id
from shared.money import month_of_year, shares
from shared.mongo import Document, Transaction, Transactions
from shared.outbox import Outbox
from shared.paging import Page

MAX_REPORTS = 50


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where partners, their reports and the figures are kept."""

    partners: PartnerRepository
    reports: SavedReportRepository
    standings: StandingRepository
    figures: Figures


@dataclass(frozen=True, slots=True)
class Result:
    """What a report says: rows in the order of ``columns``; ``complete`` is False if there are more than these."""

    report: SavedReport
    as_of: datetime | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | None, ...], ...]
    complete: bool


class SavedReportService:
    """Use cases. Each raises NotFound for a partner, or a report, that does not exist, or not for this caller."""

    def __init__(self, shelf: Shelf, transactions: Transactions, outbox: Outbox, clock: Clock) -> None:
        self._partners = shelf.partners
        self._reports = shelf.reports
        self._standings = shelf.standings
        self._figures = shelf.figures
        self._transactions = transactions
        self._outbox = outbox
        self._clock = clock

    async def save(
        self, caller: Person, slug: str, name: str, definition: Document, claim: IdempotencyClaim
    ) -> SavedReport:
        """Keep a report.

        Raises:
            ReportNameTaken, TooManySavedReports
        """
        report = SavedReport(new_id(), slug, name, definition, self._clock.now())

        async def body(tx: Transaction) -> SavedReport:
            await self._require(caller, slug, tx)
            if not await self._partners.take_report_place(slug=slug, most=MAX_REPORTS, tx=tx):
                raise TooManySavedReports(f"a partner keeps at most {MAX_REPORTS} reports: delete one first")
            await self._reports.insert(report, tx)
            await self._outbox.add(tx, PartnerReportSaved.model_validate(_about(caller, report, report.version)))
            return report

        return await self._transactions.run(body, claim)

    async def page(self, caller: Person, slug: str, limit: int, cursor: str | None) -> Page[SavedReport]:
        """Return a partner's reports by name."""
        await self._require(caller, slug)
        return await self._reports.page(partner=slug, limit=limit, cursor=cursor)

    async def read(self, caller: Person, slug: str, report_id: str) -> SavedReport:
        """Return one report."""
        await self._require(caller, slug)
        return await self._find(slug, report_id)

    async def remove(self, caller: Person, slug: str, report_id: str) -> None:
        """Forget a report."""

        async def body(tx: Transaction) -> None:
            await self._require(caller, slug, tx)
            report = await self._find(slug, report_id, tx)
            await self._reports.delete(partner=slug, report_id=report_id, tx=tx)
            await self._partners.free_report_place(slug=slug, tx=tx)
            await self._outbox.add(tx, PartnerReportRemoved.model_validate(_about(caller, report, report.version + 1)))

        await self._transactions.run(body)

    async def run(self, caller: Person, slug: str, report_id: str) -> Result:
        """Return what a report says now."""
        report = await self.read(caller, slug, report_id)
        wanted = parse_definition(report.definition)
        found = await self._rows(slug, wanted)
        rows = found[:MAX_ROWS]
        if isinstance(wanted, SubscriptionsDefinition) and "mrr" in wanted.measures:
            _take_months(found)
        columns = tuple(columns_of(wanted))
        as_of = await self._standings.heard_at(partner=slug)
        values = tuple([tuple([row[name] for name in columns]) for row in rows])
        return Result(report, as_of, columns, values, len(found) <= MAX_ROWS)

    async def _rows(self, slug: str, wanted: CustomersDefinition | SubscriptionsDefinition) -> list[Document]:
        if isinstance(wanted, CustomersDefinition):
            return await self._figures.customers(partner=slug, wanted=wanted, now=self._clock.now())
        return await self._figures.subscriptions(partner=slug, wanted=wanted)

    async def _require(self, caller: Person, slug: str, tx: Transaction | None = None) -> None:
        if await self._partners.find(scope=Scope.of(caller), slug=slug, tx=tx) is None:
            raise NotFound

    async def _find(self, slug: str, report_id: str, tx: Transaction | None = None) -> SavedReport:
        report = await self._reports.find(partner=slug, report_id=report_id, tx=tx)
        if report is None:
            raise NotFound
        return report


def _take_months(rows: list[Document]) -> None:
    """Put months where sums of years are: of each currency's whole, split as billing's summary splits it."""
    for currency in {row.get("currency") for row in rows}:
        own = [row for row in rows if row.get("currency") == currency]
        years = [row["mrr"] for row in own]
        for row, month in zip(own, shares(month_of_year(sum(years)), years), strict=True):
            row["mrr"] = month


def _about(caller: Person, report: SavedReport, version: int) -> dict[str, object]:
    state = SavedReportState(
        id=report.id,
        partner=report.partner,
        name=report.name,
        dataset=str(report.definition["dataset"]),
        version=version,
    )
    return {
        "actor": actor_of(caller),
        "resource": Resource(type="report", id=report.id, name=report.name, partner_slug=report.partner),
        "version": version,
        "state": state,
    }
