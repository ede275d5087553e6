"""Pages of filters that no index answers: bounded work a page, and nothing left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from pymongo.errors import ExecutionTimeout

from services.audit.chain import Appended
from services.audit.models import Query
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.service import AuditService, Place
from shared.mongo import Document, Mongo
from tests.audit.events import encode, suspended, tenant_event

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
NUMBERS = range(1, 14)
SUSPENSIONS = [12, 7, 1]
AHEAD = "2026-11-22T12:00:09.500Z"


async def walked(repository: AuditRepository, query: Query, limit: int) -> list[list[int]]:
    pages: list[list[int]] = []
    before: int | None = None
    while True:
        entries, before = await repository.page(query, before, limit)
        pages.append([entry["seq"] for entry in entries])
        if before is None:
            return pages


async def test_a_search_looks_at_a_bounded_number_of_entries_a_page_and_misses_none(
    chain: Chain, audit_mongo: Mongo
) -> None:
    await chain(encode(*(suspended(n) if n in SUSPENSIONS else tenant_event(n) for n in NUMBERS)))
    bounded = AuditRepository(audit_mongo.db, page_scan=4)
    assert await walked(bounded, Query(text="suspend"), 10) == [[12], [7], [], [1]]
    assert await walked(bounded, Query(text="suspend", tenant="acme"), 10) == [[12], [7], [], [1]]
    assert await walked(bounded, Query(text="tenant"), 3) == [[13, 12, 11], [10, 9, 8], [7, 6, 5], [4, 3, 2], [1]]


async def test_a_filter_with_an_index_fills_its_pages(chain: Chain, audit_mongo: Mongo) -> None:
    await chain(encode(*(suspended(n) if n in SUSPENSIONS else tenant_event(n) for n in NUMBERS)))
    bounded = AuditRepository(audit_mongo.db, page_scan=4)
    assert await walked(bounded, Query(action="tenant.suspended"), 2) == [[12, 7], [1]]
    assert await walked(bounded, Query(action="tenant.suspended", tenant="acme"), 3) == [SUSPENSIONS]
    assert await walked(bounded, Query(below=8, action="tenant.suspended"), 3) == [[7, 1]]


async def test_a_long_span_of_time_is_found_wherever_it_lies_and_no_page_before_its_end_is_empty(
    chain: Chain, audit_mongo: Mongo
) -> None:
    # Seconds 0 to 13; the clock of the second entry's sender runs ahead, so numbers do not follow times.
    await chain(encode(*(tenant_event(n, **({"time": AHEAD} if n == 2 else {})) for n in range(1, 30))))
    bounded = AuditRepository(audit_mongo.db, page_scan=4)
    old = Query(since="2026-11-22T12:00:05.000Z", until="2026-11-22T12:00:13.000Z")
    assert await walked(bounded, old, 3) == [[12, 11, 10], [9, 8, 7], [6, 5, 2]]
    assert await walked(bounded, old, 100) == [[12, 11, 10, 9], [8, 7, 6, 5], [2]]
    assert await walked(bounded, dataclasses.replace(old, above=8, below=11), 100) == [[10, 9]]


async def test_a_span_of_time_whose_index_takes_too_long_is_searched_page_by_page(
    chain: Chain, audit_mongo: Mongo
) -> None:
    class Slow(AuditRepository):
        async def _newest(self, times: Document) -> int | None:
            raise ExecutionTimeout("operation exceeded time limit")

    await chain(encode(*(tenant_event(n) for n in range(1, 14))))
    old = Query(since="2026-11-22T12:00:01.000Z", until="2026-11-22T12:00:06.000Z")
    assert await walked(Slow(audit_mongo.db, page_scan=4), old, 10) == [[], [], [5, 4, 3, 2], [1]]


async def test_a_short_page_says_how_far_it_has_looked(chain: Chain, audit_mongo: Mongo, vault: Vault) -> None:
    await chain(encode(*(suspended(n) if n in SUSPENSIONS else tenant_event(n) for n in NUMBERS)))
    audit = AuditService(AuditRepository(audit_mongo.db, page_scan=4), vault)
    seen: list[tuple[list[int], int | None]] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = await audit.page(Query(text="suspend"), None, Place(cursor, 10))
        seen.append(([entry["seq"] for entry in page.items], page.searched_to))
        cursor = page.next
    assert seen == [([12], 10), ([7], 6), ([], 2), ([1], None)]
    assert (await audit.page(Query(text="tenant"), None, Place(None, 3))).searched_to is None
