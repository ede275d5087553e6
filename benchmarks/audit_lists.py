"""The audit log's lists at a thousand to ten million entries, and the export of all of it up to a million.

Through the service on a core of its own, personal values opened as for any reader. Beside the time stands what
MongoDB's profiler counted for one page: keys and entries examined, and rows returned to the service. Loading ends
after twenty minutes, and what was reached by then is the largest size. `--largest` sets another one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks.audit_log import BEGAN, STEP, GrowingLog
from benchmarks.examined import examined
from benchmarks.load import fire, get
from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Figure, Growth, percentile
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting
from benchmarks.tenant_sides import authorizations
from shared.clock import rfc3339

LARGEST = 10_000_000
LOADING_SECONDS = 20 * 60
LARGEST_EXPORT = 1_000_000
"""What is read whole: its rate and memory no longer change, and each reading of ten times as much takes minutes."""
CONNECTIONS = 4
LIMIT = 50
_MARK = b'"prevHash":'
Row = tuple[str | float | None, ...]


@dataclass(frozen=True)
class Listed:
    """One list, by its filters."""

    what: str
    filters: Mapping[str, str | int]

    @property
    def path(self) -> str:
        return f"/api/audit?{urlencode({**self.filters, 'limit': LIMIT})}"


def lists(size: int) -> Iterator[Listed]:
    """Yield every single filter, common and rare, and the combinations that have an index or have none."""

    def at(part: float) -> str:
        return rfc3339(BEGAN + int(size * part) * STEP)

    yield Listed("first page", {})
    yield Listed("before: the middle", {"before": size // 2})
    yield Listed("action, all", {"action": "tenant.*"})
    yield Listed("action, one of a thousand", {"action": "tenant.suspended"})
    yield Listed("tenant", {"tenantSlug": "tenant-07"})
    yield Listed("partner", {"partnerSlug": "nordic"})
    yield Listed("actor", {"actorEmail": "person-7@nordic.example"})
    yield Listed("outcome, one of a thousand", {"outcome": "denied"})
    yield Listed("source, one of a thousand", {"source": "gateway"})
    yield Listed("since: the newest half", {"since": at(0.5)})
    yield Listed("until: the oldest tenth", {"until": at(0.1)})
    yield Listed("a thousandth in the middle", {"since": at(0.5), "until": at(0.501)})
    yield Listed("tenant and action", {"tenantSlug": "tenant-00", "action": "tenant.suspended"})
    yield Listed("partner and action", {"partnerSlug": "fjord", "action": "tenant.suspended"})
    yield Listed("q, all", {"q": "tenant"})
    yield Listed("q, one of a thousand", {"q": "suspend"})
    yield Listed("tenant and since", {"tenantSlug": "tenant-07", "since": at(0.5)})
    yield Listed("partner, source, outcome", {"partnerSlug": "fjord", "source": "gateway", "outcome": "denied"})


async def measure(setting: Setting) -> Figure:
    """Return a row per list and size, and one per export and size."""
    figure = Figure("log", "Audit: lists of 50 and exports, by the size of the log")
    pages = Growth(
        f"Milliseconds at {CONNECTIONS} connections; what MongoDB examined for one page",
        ("list", "entries", "p50", "p99", "keys", "rows", "returned"),
    )
    exports = Growth(
        "Exports of the whole log by one reader; the service's memory in MiB, before and at its peak",
        ("form", "entries", "entries/s", "MiB/s", "before", "peak"),
    )
    figure.growths += [pages, exports]
    largest = setting.largest or setting.sized(LARGEST, 10_000)
    sizes = [10**power for power in range(3, 9) if 10**power <= largest]
    async with both(setting.folder) as servers:
        log = GrowingLog(servers.mongo_uri)
        await log.prepare()
        spent = 0.0
        for size in sizes:
            began = time.monotonic()
            whole = await log.grow(size, began + LOADING_SECONDS - spent)
            spent += time.monotonic() - began
            await _measure(setting, servers, log.head.seq, (pages, exports))
            if not whole:
                figure.notes.append(f"{LOADING_SECONDS} s of loading ended at {log.head.seq:,} of {size:,} entries.")
                break
        figure.notes.append(f"{log.head.seq:,} entries were linked, stored and indexed in {spent:.0f} s.")
        await log.mongo.close()
    pages.rows.sort(key=lambda row: [listed.what for listed in lists(1)].index(str(row[0])))
    return figure


async def _measure(setting: Setting, servers: Servers, size: int, growths: tuple[Growth, Growth]) -> None:
    pages, exports = growths
    async with _service(setting, servers) as service:
        fields = authorizations(1, audience="audit")
        await fire(service.port, [get(listed.path, *fields) for listed in lists(size)], seconds=setting.warm_up)
        for listed in lists(size):
            pages.rows.append(await _page(setting, servers, service, listed, size))
    for form in ("csv", "ndjson") if size <= LARGEST_EXPORT else ():
        async with _service(setting, servers) as service:
            exports.rows.append(await _export(service, form, size))


def _service(setting: Setting, servers: Servers) -> Pinned:
    port = free_port()
    environment, log = servers.environment("audit", port), setting.folder / "audit.log"
    return Pinned(python("services.audit"), environment, log, port=port, ready_path="/readyz")


async def _page(setting: Setting, servers: Servers, service: Pinned, listed: Listed, size: int) -> Row:
    requests = [get(listed.path, field) for field in authorizations(16, audience="audit")]
    tally = await fire(service.port, requests, seconds=setting.seconds, connections=CONNECTIONS)
    if not tally.clean:
        raise AssertionError(f"{listed.path} at {size}: {tally.answered} answered, {tally.not_2xx} not 2xx")
    latencies = sorted(tally.latencies)
    counted = await examined(servers, "audit", "entries", service, requests[0])
    return (listed.what, size, percentile(latencies, 0.50) * 1000, percentile(latencies, 0.99) * 1000, *counted)


async def _export(service: Pinned, form: str, size: int) -> Row:
    before = service.peak_mib()
    (field,) = authorizations(1, audience="audit")
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**20)
    writer.write(get(f"/api/audit?format={form}", field))
    began, received, entries, tail = time.perf_counter(), 0, 0, b""
    mark = _MARK if form == "ndjson" else b"\n"
    while not tail.endswith(b"0\r\n\r\n"):
        piece = await reader.read(2**20)
        if not piece:
            raise AssertionError(f"the export of {size} entries broke off after {received} bytes")
        received += len(piece)
        entries += (tail[-len(mark) + 1 :] + piece).count(mark) if len(mark) > 1 else 0
        tail = (tail + piece)[-64:]
    seconds = time.perf_counter() - began
    writer.close()
    if form == "ndjson" and entries != size:
        raise AssertionError(f"the export has {entries} of {size} entries")
    return (form, size, size / seconds, received / seconds / 2**20, before, service.peak_mib())
