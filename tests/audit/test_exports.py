"""Exports of lists: the same entries as the pages, as a stream that ends where it says and breaks where it fails."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from services.audit.chain import Appended
from services.audit.exports import Exports, Kind
from services.audit.main import build
from services.audit.models import Head, Query, Stored
from services.audit.personal import Vault
from services.audit.repository import AuditRepository
from services.audit.service import AuditService
from services.audit.settings import AuditSettings
from services.audit.turns import ExportsBusy, Turns
from shared.errors import PROBLEM_TYPE
from shared.mongo import Database, Mongo, Transaction
from shared.streams import Stream
from shared.testing import partner_person
from tests.audit.events import JANE, encode, suspended, tenant_event
from tests.audit.test_api import (
    ADMIN,
    CALLERS,
    FILTERS,
    MEMBER,
    STAFF,
    STRANGERS,
    Publish,
    busy,
    by_operator,
    chained,
    client,
    publish,
    read,
    settings,
)
from tests.support.servers import LiveServer, free_port
from tests.support.waiting import eventually

__all__ = ["busy", "client", "publish", "settings"]
Chain = Callable[[Sequence[bytes]], Awaitable[Appended]]
HEADER = (
    "v,seq,id,at,actorType,actorId,actorEmail,actorIp,surface,action,outcome,resourceType,resourceId,resourceName,"
    "tenantSlug,partnerSlug,source,metadata,prevHash,hash,erased"
)


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().split("\n")[:-1]]


def table(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True))


async def test_each_filter_exports_what_it_lists(busy: httpx.AsyncClient) -> None:
    for query, expected in FILTERS:
        answer = await busy.get("/api/audit", params={**query, "format": "ndjson"}, headers=by_operator())
        assert (query, [entry["seq"] for entry in lines(answer.content)]) == (query, expected)
        answer = await busy.get("/api/audit", params={**query, "format": "csv"}, headers=by_operator())
        assert (query, [int(row["seq"]) for row in table(answer.content)]) == (query, expected)


async def test_a_line_is_the_entry_of_the_list_and_a_row_has_its_values(busy: httpx.AsyncClient) -> None:
    listed = (await read(busy))["items"]
    answer = await busy.get("/api/audit", headers={**by_operator(), "accept": "application/x-ndjson"})
    assert lines(answer.content) == listed
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.ndjson"'
    answer = await busy.get("/api/audit", headers={**by_operator(), "accept": "text/csv, application/json;q=0.9"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    assert (answer.headers["dezky-head-seq"], answer.headers["vary"]) == ("6", "accept")
    assert "content-length" not in answer.headers
    assert answer.text.split("\r\n")[0] == HEADER
    for row, entry in zip(table(answer.content), listed, strict=True):
        assert json.loads(row.pop("metadata")) == entry.pop("metadata")
        assert row.pop("erased") == "false"
        entry.pop("erased")
        assert row == {name: "" if value is None else str(value) for name, value in entry.items()}


async def test_scopes_are_those_of_the_lists(busy: httpx.AsyncClient) -> None:
    for path in ("/api/tenants/acme/audit", "/api/partners/nordic/audit"):
        for form in ("csv", "ndjson"):
            answer = await busy.get(path, params={"format": form}, headers=CALLERS.headers(STAFF))
            found = table(answer.content) if form == "csv" else lines(answer.content)
            assert [int(row["seq"]) for row in found] == [6, 2, 1]
            for who in STRANGERS:
                answer = await busy.get(path, params={"format": form}, headers=CALLERS.headers(who))
                assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    for path, who, status in (
        ("/api/tenants/acme/audit", ADMIN, 200),
        ("/api/tenants/acme/audit", MEMBER, 403),
        ("/api/audit", STAFF, 403),
        ("/api/partners/nordic/audit", partner_person("fjord"), 404),
    ):
        answer = await busy.get(path, params={"format": "csv"}, headers=CALLERS.headers(who))
        assert (path, answer.status_code) == (path, status)


async def test_a_new_partner_exports_nothing_of_the_time_of_the_old_one(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish(tenant_event(1, partner="nordic"), tenant_event(2, partner=None), tenant_event(3, partner="fjord"))
    await chained(client, 3)
    headers = CALLERS.headers(partner_person("fjord"))
    answer = await client.get("/api/tenants/acme/audit", params={"format": "ndjson"}, headers=headers)
    assert [entry["seq"] for entry in lines(answer.content)] == [3, 2]


async def test_no_cell_is_a_formula_and_an_erased_person_is_an_empty_cell(
    client: httpx.AsyncClient, publish: Publish, root_db: Database
) -> None:
    event = tenant_event(1)
    event["data"]["resource"]["name"] = "=HYPERLINK(1)"
    await publish(event, suspended(2))
    await chained(client, 2)
    await root_db["person_keys"].update_one({"_id": f"person:{JANE}"}, {"$unset": {"wrapped": ""}})
    answer = await client.get("/api/audit", params={"format": "csv"}, headers=by_operator())
    kept, erased = table(answer.content)
    assert (kept["actorEmail"], kept["erased"]) == ("operator@dezky.local", "false")
    assert (erased["actorEmail"], erased["actorIp"], erased["erased"]) == ("", "", "true")
    assert erased["resourceName"] == "'=HYPERLINK(1)"
    assert (erased["actorId"], erased["tenantSlug"]) == (JANE, "acme")


@pytest.fixture
def exports(repository: AuditRepository, vault: Vault) -> Exports:
    return Exports(AuditService(repository, vault), repository, Turns(2))


async def test_an_export_ends_at_the_head_of_its_beginning_and_opens_values_page_by_page(
    chain: Chain, exports: Exports, root_db: Database
) -> None:
    await chain(encode(*(tenant_event(number) for number in range(1, 1_101))))
    export, rows = await exports.begin("ndjson", Query()), await exports.begin("csv", Query())
    await chain(encode(tenant_event(1_101)))
    read = lines(await anext(export.pieces))
    await root_db["person_keys"].update_many({}, {"$unset": {"wrapped": ""}})
    read += [entry async for piece in export.pieces for entry in lines(piece)]
    assert (export.head, rows.head) == (1_100, 1_100)
    body = b"".join([piece async for piece in rows.pieces])
    assert [int(row["seq"]) for row in table(body)] == list(range(1_100, 0, -1))
    assert [entry["seq"] for entry in read] == list(range(1_100, 0, -1))
    assert {entry["actorEmail"] for entry in read[:500]} == {"Jane@Nordic.example"}
    assert {entry["actorEmail"] for entry in read[500:]} == {None}


async def held_longest(work: Awaitable[None]) -> float:
    """Seconds of this thread's processor that went by between two turns of the event loop, at most, beside `work`.

    Not the clock's: on a busy machine that says who else was running. What lies about in memory is frozen, as
    `shared.app.serve` freezes it.
    """
    gc.collect()
    gc.freeze()
    longest, ended = 0.0, asyncio.ensure_future(work)
    before = time.thread_time()
    while not ended.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    gc.unfreeze()
    await ended
    return longest


async def _read(exports: Exports, kind: Kind) -> None:
    async for _ in (await exports.begin(kind, Query())).pieces:
        pass


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
async def test_an_export_lets_others_have_the_event_loop_between_small_slices(
    chain: Chain, exports: Exports, kind: Kind
) -> None:
    await chain(encode(*(tenant_event(number) for number in range(1, 501))))
    assert await held_longest(_read(exports, kind)) < 0.014  # a page in one go: 0.021 and more


@pytest.mark.torture
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
async def test_an_export_of_twenty_thousand_entries_never_holds_the_event_loop_for_long(
    chain: Chain, exports: Exports, kind: Kind
) -> None:
    for first in range(1, 20_001, 500):
        await chain(encode(*(tenant_event(number) for number in range(first, first + 500))))
    held = await held_longest(_read(exports, kind))
    print(f"{kind}: held for {held * 1000:.1f} ms at most")
    assert held < 0.02


async def test_no_more_exports_run_than_may_and_each_way_of_ending_frees_its_turn(
    chain: Chain, exports: Exports
) -> None:
    await chain(encode(tenant_event(1), tenant_event(2)))
    first, second = await exports.begin("csv", Query()), await exports.begin("ndjson", Query())
    with pytest.raises(ExportsBusy):
        await exports.begin("ndjson", Query())
    await first.pieces.aclose()  # nobody has taken a piece of it
    third = await exports.begin("ndjson", Query())
    assert len([piece async for piece in third.pieces]) == 1
    fourth = await exports.begin("csv", Query())
    await anext(fourth.pieces)
    await fourth.pieces.aclose()
    fifth = await exports.begin("csv", Query())
    for export in (second, fifth):
        await export.pieces.aclose()


async def test_one_export_too_many_is_told_when_to_come_again(settings: AuditSettings) -> None:
    app = build(settings.model_copy(update={"exports_at_once": 1}))
    async with LiveServer(app, settings.port) as server, httpx.AsyncClient(base_url=server.url) as http:
        await eventually(lambda: _answers(http, "/readyz", 200))
        running = await app.state.deps.exports.begin("csv", Query())
        for path, query in (("/api/audit", {"format": "csv"}), ("/api/audit/export", {})):
            refused = await http.get(path, params=query, headers=by_operator())
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert (refused.headers["content-type"], refused.json()["code"]) == (PROBLEM_TYPE, "exports_busy")
        assert (await http.get("/api/audit", headers=by_operator())).status_code == 200
        await running.pieces.aclose()
        assert (await http.get("/api/audit", params={"format": "csv"}, headers=by_operator())).status_code == 200


async def _answers(http: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await http.get(path)).status_code == status


async def test_what_comes_between_the_head_and_the_first_page_is_not_in_the_export(
    chain: Chain, audit_mongo: Mongo, vault: Vault
) -> None:
    class Growing(AuditRepository):
        async def head(self, tx: Transaction | None = None) -> Head | None:
            found = await super().head(tx)
            await chain(encode(tenant_event(3)))
            return found

    await chain(encode(tenant_event(1), tenant_event(2)))
    growing = Growing(audit_mongo.db)
    export = await Exports(AuditService(growing, vault), growing, Turns(1)).begin("ndjson", Query())
    assert [entry["seq"] async for piece in export.pieces for entry in lines(piece)] == [2, 1]
    assert export.head == 2


class Failing(AuditRepository):
    """Its second page does not come."""

    pages = 0

    async def page(self, query: Query, before: int | None, limit: int) -> tuple[list[Stored], int | None]:
        self.pages += 1
        if self.pages == 2:
            raise TimeoutError
        return await super().page(query, before, limit)


def served(pieces: AsyncGenerator[bytes]) -> LiveServer:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await Stream(pieces, {"content-type": "application/x-ndjson"})(scope, receive, send)
        else:
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})

    return LiveServer(app, free_port())


async def test_an_export_that_fails_on_its_way_does_not_look_whole(
    chain: Chain, audit_mongo: Mongo, vault: Vault
) -> None:
    await chain(encode(*(tenant_event(number) for number in range(1, 502))))
    failing = Failing(audit_mongo.db)
    export = await Exports(AuditService(failing, vault), failing, Turns(1)).begin("ndjson", Query())
    received = bytearray()
    async with served(export.pieces) as server, httpx.AsyncClient() as http, http.stream("GET", server.url) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await _gather(answer, received)
    assert [entry["seq"] for entry in lines(bytes(received))] == list(range(501, 1, -1))


async def _gather(answer: httpx.Response, received: bytearray) -> None:
    async for piece in answer.aiter_bytes():
        received += piece


class Endless:
    """Pieces of a mebibyte without end; says how many were made and whether somebody closed it."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                self.made += 1
                yield bytes(2**20)
        finally:
            self.closed.set()


async def test_a_client_that_goes_away_ends_the_reading() -> None:
    source = Endless()
    async with served(source.pieces()) as server, httpx.AsyncClient() as http:
        async with http.stream("GET", server.url) as answer:
            await anext(answer.aiter_raw())
        await asyncio.wait_for(source.closed.wait(), 10)


async def test_a_client_that_reads_nothing_holds_the_source_up() -> None:
    source = Endless()
    async with served(source.pieces()) as server, httpx.AsyncClient() as http:
        async with http.stream("GET", server.url):
            made = await eventually(lambda: _still(source), pause=0.1, what="the source waits")
            assert made < 64
        await asyncio.wait_for(source.closed.wait(), 10)


async def _still(source: Endless) -> int:
    """How many pieces there are, once no more come while the event loop turns a thousand times."""
    before = source.made
    for _ in range(1_000):
        await asyncio.sleep(0)
    return source.made if before and source.made == before else 0
