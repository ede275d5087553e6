"""One trace id from the gateway's log to the audit entry, and every metric that is asked for is exported."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import pytest

from infrastructure.local.processes import GATEWAY_OFFSET, SERVICES
from tests.support.exported import SCRAPE, scraped
from tests.support.fleet import Fleet
from tests.support.promql import read
from tests.support.waiting import eventually
from tests.test_instruments import ITS_OWN, queries, rules

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

STAFF = ("staff@nordic.example", "portal")
OPERATOR = ("operator@dezky.local", "operator")


def lines_of(fleet: Fleet, process: str, trace: str) -> list[dict[str, Any]]:
    """What a process logged in a trace."""
    text = fleet.place.log(process).read_text(encoding="utf-8", errors="replace")
    found = [line[line.index("{") :] for line in text.splitlines() if trace in line and "{" in line]
    return [entry for line in found if (entry := json.loads(line)).get("trace_id") == trace]


async def test_one_trace_id_goes_from_the_gateways_log_to_the_audit_entries(fleet: Fleet) -> None:
    """Through the service, its outbox, the event, another service's consumer, what that says, and the log."""
    slug, trace = f"t-{secrets.token_hex(4)}", secrets.token_hex(16)
    caller = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    body = {"slug": slug, "name": "Acme Ltd", "plan": "business", "seats": 5}
    async with fleet.client(*STAFF) as staff, fleet.client(*OPERATOR) as operator:
        created = await staff.post("/api/tenants", json=body, headers=caller)
        assert created.status_code == 201, created.text
        request_id = created.headers["x-request-id"]

        async def told() -> dict[str, dict[str, Any]]:
            entries = (await operator.get("/api/audit", params={"tenantSlug": slug})).json()["items"]
            found = {entry["action"]: entry for entry in entries}
            return found if {"tenant.created", "subscription.started"} <= found.keys() else {}

        entries = await eventually(told, seconds=30)
    with fleet.root() as root:
        (said,) = root["tenant"]["outbox"].find({"type": "tenant.created.v1", "aggregate": f"tenants/{slug}"})
        (followed,) = root["billing"]["outbox"].find({"envelope.traceparent": {"$regex": trace}})
    assert said["envelope"]["traceparent"].split("-")[1] == trace
    assert followed["type"] == "subscription.started.v1"
    for entry in entries.values():
        if entry["action"] in {"tenant.created", "subscription.started"}:
            assert (entry["metadata"]["traceId"], entry["metadata"]["requestId"]) == (trace, request_id)

    async def logged() -> bool:
        found = [lines_of(fleet, process, trace) for process in ("gateway", "tenant")]
        gateway, tenant = ({line["route"] for line in lines if line["event"] == "request"} for lines in found)
        # Whose token it is the gateway asks the tenant service, in the same trace, unless it knows.
        return gateway == {"/api/tenants"} == tenant - {"/internal/principals"}

    await eventually(logged)


async def test_a_request_without_a_trace_gets_one_that_its_log_line_names(fleet: Fleet) -> None:
    async with fleet.client(*STAFF) as staff:
        answer = await staff.get("/api/tenants")
    trace = answer.headers["x-request-id"].replace("-", "")

    async def logged() -> bool:
        return all(lines_of(fleet, process, trace) for process in ("gateway", "tenant"))

    await eventually(logged)


async def test_every_metric_of_rules_and_dashboards_is_exported_by_the_fleet(fleet: Fleet) -> None:
    recorded = {rule.name for rule in rules() if "record" in rule.body}
    selectors = {selector for asked in queries() for selector in read(asked.expr).selectors}
    async with fleet.client(*STAFF) as staff, httpx.AsyncClient(timeout=10) as http:
        await staff.get("/api/tenants")
        exported: dict[str, frozenset[str]] = {}
        for offset in (GATEWAY_OFFSET, *(service.offset for service in SERVICES)):
            answer = await http.get(f"{fleet.place.url(offset)}/metrics")
            assert answer.headers["content-type"].startswith("text/plain")
            for name, labels in scraped(answer.text).items():
                exported[name] = exported.get(name, frozenset()) | labels
    ours = {each for each in selectors if each.metric not in recorded and each.metric not in ITS_OWN}
    assert {each.metric for each in ours} - exported.keys() == set()
    # A metric that has no series yet cannot be asked for its labels; those are compared with the registry elsewhere.
    odd = {each for each in ours if exported[each.metric] and each.labels - exported[each.metric] - SCRAPE}
    assert odd == set()
