"""Pages of filters that no index answers: bounded work a page, and nothing left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.audit.chain import Appended
from services.audit.models import Query
from services.audit.repository import AuditRepository
from shared.mongo import Mongo
from tests.audit.events import encode, suspended, tenant_event

Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
NUMBERS = range(1, 14)
SUSPENSIONS = [12, 7, 1]


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
