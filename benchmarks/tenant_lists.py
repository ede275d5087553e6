"""Lists of tenants at a thousand to a million: pages, filters and searches, through the service and through its peer.

Both read the same rows along the same indexes with the same queries and must answer the same bytes. Beside the time
stands what MongoDB's profiler counted for one such answer: keys and rows examined, and rows returned to the service.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from urllib.parse import urlencode

from pymongo import AsyncMongoClient

from benchmarks.examined import examined
from benchmarks.load import Tally, fire, get
from benchmarks.processes import Pinned
from benchmarks.report import Figure, Growth, percentile
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting, alternate
from benchmarks.tenant_rows import BIG_PARTNER, RARE_WORD, load, rows
from benchmarks.tenant_sides import OURS, PEER, authorizations, ours, peer, same_bytes
from shared.auth import Person
from shared.mongo import Document
from shared.paging import encode_cursor
from shared.testing import partner_person

SIZES = (1_000, 10_000, 100_000, 1_000_000)
# Few, so that what is measured is an answer and not the queue before it.
CONNECTIONS = 4
ROUND_SECONDS = 0.6
LIMIT = 50


@dataclass(frozen=True)
class Listed:
    """One list, and who asks for it."""

    what: str
    filters: Mapping[str, str]
    middle: bool = False
    caller: Person | None = None

    def path(self, middle: str) -> str:
        """Return the path, from ``middle`` on if the list is to begin there."""
        query = {**self.filters, "limit": str(LIMIT)}
        if self.middle:
            known = {name: value == "true" if name == "detached" else value for name, value in self.filters.items()}
            query["cursor"] = encode_cursor([middle], known)
        return f"/api/tenants?{urlencode(query)}"


STAFF = partner_person(BIG_PARTNER)
LISTS = (
    Listed("first page", {}),
    Listed("page in the middle", {}, middle=True),
    Listed("status", {"status": "suspended"}, middle=True),
    Listed("partner, status and plan", {"partner": BIG_PARTNER, "status": "active", "plan": "team"}, middle=True),
    Listed("without a partner", {"detached": "true"}),
    Listed("search, one of two match", {"q": "s"}, middle=True),
    Listed("search, one of a thousand", {"q": RARE_WORD}),
    Listed("search, status", {"q": "sol", "status": "suspended"}),
    Listed("search, plan", {"q": "sol", "plan": "enterprise"}),
    Listed("search, two words", {"q": f"ltd {RARE_WORD}"}),
    Listed("a partner's, one tenth of all", {}, middle=True, caller=STAFF),
    Listed("a partner's, search", {"q": "sol"}, middle=True, caller=STAFF),
)


async def measure(setting: Setting) -> Figure:
    """Return a row per list and size."""
    figure = Figure("lists", "Tenant service: lists of 50 at 10³ to 10⁶ tenants")
    growth = Growth(
        f"Milliseconds at {CONNECTIONS} connections; what MongoDB examined for one answer",
        ("list", "tenants", "p50", "p99", "peer p50", "peer p99", "rate : peer", "keys", "rows", "returned"),
    )
    figure.growths.append(growth)
    async with both(setting.folder) as servers:
        for size in SIZES[: setting.sized(4, 2)]:
            began = time.monotonic()
            await load(servers.mongo_uri, _database(size), size)
            figure.notes.append(f"{size:,} tenants were stored and indexed in {time.monotonic() - began:.0f} s.")
            await _measure_size(setting, servers, size, figure)
        figure.notes.append(await _space(servers, _database(size)))
    growth.rows.sort(key=lambda row: [listed.what for listed in LISTS].index(str(row[0])))
    figure.notes.append("CPU of one core each; see the figure `tenant` for throughput against the promise.")
    return figure


async def _measure_size(setting: Setting, servers: Servers, size: int, figure: Figure) -> None:
    (growth,) = figure.growths
    database = _database(size)
    middle = sorted(row["slug"] for row in rows(min(size, 10_000)))[min(size, 10_000) // 2]
    async with (
        ours(setting, servers, database) as we,
        peer(setting, servers, cached=True, database=database) as they,
    ):
        for service in (we, they):
            mixed = [get(listed.path(middle), *authorizations(1, listed.caller)) for listed in LISTS]
            await fire(service.port, mixed, seconds=setting.warm_up)
        for listed in LISTS:
            try:
                row = await _compare(setting, servers, size, listed, listed.path(middle), (we, they))
            except AssertionError as error:  # void; the others are still worth measuring
                figure.unreached.append(f"{listed.what} at {size:,}: {error}")
            else:
                growth.rows.append(row)


async def _counted(
    servers: Servers, size: int, request: bytes, sides: tuple[Pinned, Pinned]
) -> list[tuple[int, int, int]]:
    """Return what each side examined for one answer; counted again where a worker of the service read beside it."""
    counted: list[tuple[int, int, int]] = []
    for _ in range(3):
        counted = [await examined(servers, _database(size), "tenants", side, request) for side in sides]
        if counted[0] == counted[1]:
            break
    return counted


async def _compare(
    setting: Setting, servers: Servers, size: int, listed: Listed, path: str, sides: tuple[Pinned, Pinned]
) -> tuple[str | float | None, ...]:
    expected = await same_bytes(sides[0].port, sides[1].port, path, listed.caller)
    request = get(path, *authorizations(1, listed.caller))
    counted = await _counted(servers, size, request, sides)
    if counted[0] != counted[1]:
        raise AssertionError(f"{path}: the two do not read the same: {counted}")

    async def run(service: Pinned) -> Tally:
        requests = [get(path, field) for field in authorizations(16, listed.caller)]
        return await fire(service.port, requests, seconds=ROUND_SECONDS, expected=expected, connections=CONNECTIONS)

    mine, theirs = await alternate(setting.sized(3, 1), *(partial(run, side) for side in sides))
    for who, tallies in ((OURS, mine), (PEER, theirs)):
        if not all(tally.clean for tally in tallies):
            raise AssertionError(f"{path} by {who}: {_faults(tallies)}")
    ratio = median(a.per_second / b.per_second for a, b in zip(mine, theirs, strict=True))
    return (listed.what, size, *_milliseconds(mine), *_milliseconds(theirs), ratio, *counted[0])


def _faults(tallies: list[Tally]) -> str:
    counts = (
        f"{t.answered} answered, of them {t.not_2xx} not 2xx, {t.wrong} wrong; {t.broken} broken off" for t in tallies
    )
    return "; ".join(counts)


def _milliseconds(tallies: list[Tally]) -> tuple[float, float]:
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    return percentile(latencies, 0.50) * 1000, percentile(latencies, 0.99) * 1000


async def _space(servers: Servers, database: str) -> str:
    client: AsyncMongoClient[Document] = AsyncMongoClient(servers.mongo_uri)
    async with client:
        found = await client[database].command("collStats", "tenants", scale=2**20)
    searching = sum(size for name, size in found["indexSizes"].items() if "prefixes" in name)
    return (
        f"{found['count']:,} tenants: {found['storageSize']} MiB of rows ({found['size']} MiB uncompressed), "
        f"{found['totalIndexSize']} MiB of indexes, {searching} MiB of them for searches."
    )


def _database(size: int) -> str:
    return f"tenants-{size}"
