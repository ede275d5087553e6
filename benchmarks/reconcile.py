"""How many tenants one replica compares with Authentik, Stalwart and OCIS a second, and what each part of it costs.

Against the stand-ins, each a process of its own beside the service's core: first tenants that none of them knows, until
all are active and at rest; then the same ones when nothing is to be done, asked for all at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import Pinned, free_port, python
from benchmarks.report import Figure, Growth
from benchmarks.servers import Servers, both
from benchmarks.setting import Setting
from benchmarks.tenant_rows import rows
from services.tenant.provisioning.repository import INDEXES as PROVISIONING_INDEXES
from services.tenant.repository import INDEXES
from shared.mongo import Mongo

SUITE = "dezky-suite"
LONGEST_SECONDS = 240.0
_TOKEN = "a-token-of-benchmarks"
_STALWART_KEY = f"API_{_TOKEN}"


@dataclass(frozen=True)
class _Backend:
    process: Pinned
    url: str


async def measure(setting: Setting) -> Figure:
    """Return tenants per second, and the CPU time of each process per tenant."""
    figure = Figure("reconcile", "Tenant service: comparisons with the suite's backends, one replica")
    count = setting.sized(200, 20)
    async with both(setting.folder) as servers, _backends(setting) as backends:
        mongo = Mongo(servers.mongo_uri, "tenant", "benchmarks")
        await mongo.ensure_indexes({**PROVISIONING_INDEXES, "tenants": INDEXES["tenants"]})
        await mongo.db["tenants"].insert_many([_pending(row) for row in rows(count)])
        async with _service(setting, servers, backends) as service:
            processes = {"service": service, **{name: backend.process for name, backend in backends.items()}}
            growth = Growth(
                "Tenants a second, and milliseconds of CPU for each of them",
                ("what", "tenants", "tenants/s", *(f"{name} CPU ms" for name in processes), "service's core"),
            )
            growth.rows.append(await _timed("none of the backends knows them", count, processes, mongo))
            await mongo.db["provisioning"].update_many({}, [{"$set": {"next_at": "$$NOW"}}])
            growth.rows.append(await _timed("nothing is to be done", count, processes, mongo))
        await mongo.close()
    figure.growths.append(growth)
    figure.notes.append("Each tenant has a domain and no people. A tenant is compared with all three backends at once.")
    return figure


async def _timed(
    what: str, count: int, processes: Mapping[str, Pinned], mongo: Mongo
) -> tuple[str | float | None, ...]:
    """Wait until all are at rest; the clock runs from now."""
    began = time.perf_counter()
    before = {name: process.cpu_seconds() for name, process in processes.items()}
    async with asyncio.timeout(LONGEST_SECONDS):
        while not await _at_rest(mongo, count):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    used = {name: process.cpu_seconds() - before[name] for name, process in processes.items()}
    return (what, count, count / took, *(cpu * 1000 / count for cpu in used.values()), used["service"] / took)


async def _at_rest(mongo: Mongo, count: int) -> bool:
    """Tell whether every tenant is active, and seen ready by every backend, and nothing is due."""
    ready = {f"conditions.{name}.status": "ready" for name in ("authentik", "stalwart", "ocis")}
    waiting = {"$expr": {"$gt": ["$next_at", "$$NOW"]}, **ready}
    if await mongo.db["provisioning"].count_documents(waiting) < count:
        return False
    return await mongo.db["tenants"].count_documents({"status": "active"}) == count


def _pending(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tenant as it is when it has just been created."""
    partner = row["partner"] or "nordic"
    ownership = [{"partner": partner, "since": row["created_at"], "until": None}]
    created = {"status": "pending", "partner": partner, "ownership": ownership, "detached_until": None}
    domains = [{"name": f"{row['slug']}.example", "primary": True}]
    return {**row, **created, "domains": domains, "suspended_reason": None, "deletion": None}


@asynccontextmanager
async def _backends(setting: Setting) -> AsyncIterator[dict[str, _Backend]]:
    ports = {name: free_port() for name in ("authentik", "stalwart", "ocis")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    seeds = _seeds(urls)
    async with AsyncExitStack() as stack:
        backends = {}
        for name, port in ports.items():
            seed = setting.folder / f"{name}.json"
            seed.write_text(json.dumps(seeds[name]), encoding="utf-8")
            places = ("--port", str(port), "--state", str(setting.folder / name), "--seed", str(seed))
            process = Pinned(
                python(f"infrastructure.sandbox.{name}", *places),
                {},
                setting.folder / f"{name}.log",
                port=port,
                ready_path="/_sandbox/faults",  # any other path may count against a limit
                beside=True,
            )
            backends[name] = _Backend(await stack.enter_async_context(process), urls[name])
        yield backends


def _seeds(urls: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    suite = {
        "slug": SUITE,
        "name": "Suite",
        "clientId": SUITE,
        "clientSecret": "a-secret-of-benchmarks",
        "redirectUris": ["http://127.0.0.1/"],
        "postLogoutRedirectUris": ["http://127.0.0.1/"],
        "boundGroup": SUITE,
    }
    return {
        "authentik": {
            "publicUrl": urls["authentik"],
            "apiToken": _TOKEN,
            "applications": [suite],
            "groups": [SUITE],
            "users": [],
        },
        "stalwart": {
            "adminUser": "admin@sandbox.example",
            "adminSecret": "a-secret-of-benchmarks",
            "apiKey": _STALWART_KEY,
            "limits": {"authenticatedPerMinute": 1_000_000, "anonymousPerMinute": 1_000_000},
        },
        "ocis": {"publicUrl": urls["ocis"], "tokens": [_TOKEN]},
    }


def _service(setting: Setting, servers: Servers, backends: Mapping[str, _Backend]) -> Pinned:
    port = free_port()
    environment = servers.environment("tenant", port) | {
        "TENANT_AUTHENTIK_URL": backends["authentik"].url,
        "TENANT_AUTHENTIK_TOKEN": _TOKEN,
        "TENANT_STALWART_URL": backends["stalwart"].url,
        "TENANT_STALWART_API_KEY": _STALWART_KEY,
        "TENANT_OCIS_URL": backends["ocis"].url,
        "TENANT_OCIS_TOKEN": _TOKEN,
    }
    log = setting.folder / "tenant.log"
    return Pinned(python("services.tenant"), environment, log, port=port, ready_path="/readyz")
