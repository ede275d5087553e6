"""The audit service whole: events from a real NATS, a real MongoDB under the append-only role, HTTP in front."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import nats
import pytest

from infrastructure.local.servers.nats import NatsServer
from services.audit.main import build
from services.audit.settings import AuditSettings
from services.audit.verifications.sources import NO_WITNESS
from shared.auth import Person
from shared.mongo import Database
from shared.testing import Callers, operator, partner_person, person, tenant_person
from shared.topology import Topology
from tests.audit.events import encode, refused, suspended, tenant_event
from tests.support.servers import LiveServer, nats_url
from tests.support.waiting import eventually

CALLERS = Callers("audit")


def by_operator() -> dict[str, str]:
    """Made for each request: an internal token is good for 60 seconds."""
    return CALLERS.headers(operator())


Publish = Callable[..., Awaitable[None]]


@pytest.fixture
def settings(environment: dict[str, Any]) -> AuditSettings:
    return AuditSettings(**environment)


@pytest.fixture
async def client(settings: AuditSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        LiveServer(build(settings), settings.port) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await eventually(lambda: _ready(http))
        yield http


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


@pytest.fixture
async def publish(nats_server: NatsServer, nats_topology: Topology) -> AsyncIterator[Publish]:
    """Store events on the stream, each under the subject of its type."""
    connection = await nats.connect(nats_url(nats_server, "admin"))
    stream = connection.jetstream()

    async def send(*events: dict[str, Any], subject: str | None = None) -> None:
        for event, payload in zip(events, encode(*events), strict=True):
            await stream.publish(nats_topology.subject(subject or event["type"]), payload)

    yield send
    await connection.close()


async def read(client: httpx.AsyncClient, path: str = "/api/audit", who: Person | None = None, **query: Any) -> Any:
    headers = by_operator() if who is None else CALLERS.headers(who)
    answer = await client.get(path, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def chained(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await read(client))["items"]
        return items if len(items) >= count else []

    return await eventually(look, what=f"{count} entries")


async def seqs(client: httpx.AsyncClient, path: str = "/api/audit", who: Person | None = None, **query: Any) -> Any:
    return [item["seq"] for item in (await read(client, path, who, **query))["items"]]


async def test_an_event_is_listed_with_actor_address_and_before_and_after(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish(suspended(1))
    (entry,) = await chained(client, 1)
    assert (entry["actorEmail"], entry["actorIp"], entry["surface"]) == (
        "operator@dezky.local",
        "198.51.100.9",
        "operator",
    )
    assert (entry["action"], entry["outcome"], entry["tenantSlug"]) == ("tenant.suspended", "success", "acme")
    assert entry["metadata"]["changes"]["name"] == {"before": "Name 0", "after": "Name 1"}
    assert entry["metadata"]["data"] == {"reason": "unpaid"}
    assert entry["erased"] is False


async def test_verify_is_ok_and_after_an_edit_by_root_it_names_the_entry(
    client: httpx.AsyncClient, publish: Publish, root_db: Database
) -> None:
    await publish(tenant_event(1), suspended(2), tenant_event(3))
    await chained(client, 3)
    newest = await client.post("/api/audit/checkpoint", headers=by_operator())
    assert await read(client, "/api/audit/verify") == {
        "ok": True,
        "verified": 3,
        "checkpoints": newest.json()["number"],
        "headSeq": 3,
        "oldestHotSeq": 1,
        "highestArchivedSeq": None,
        "findings": [NO_WITNESS],
    }
    await root_db["entries"].update_one({"seq": 2}, {"$set": {"outcome": "denied"}})
    answer = await read(client, "/api/audit/verify")
    assert (answer["ok"], answer["verified"]) == (False, 1)
    assert (answer["break"]["kind"], answer["break"]["seq"]) == ("event-hash-mismatch", 2)
    assert set(answer["break"]) == {"kind", "seq", "expected", "actual"}
    await root_db["entries"].delete_many({"seq": {"$gte": 2}})
    answer = await read(client, "/api/audit/verify")
    assert (answer["break"]["kind"], answer["break"]["headSeq"]) == ("truncated-tail", 3)


async def test_a_missing_event_is_a_finding_of_verify(client: httpx.AsyncClient, publish: Publish) -> None:
    await publish(tenant_event(1), tenant_event(4))
    await chained(client, 2)
    answer = await read(client, "/api/audit/verify")
    assert (answer["ok"], answer["findings"]) == (True, [NO_WITNESS, "events 2 to 3 of tenant have not arrived"])
    metrics = (await client.get("/metrics")).text
    assert 'dezky_audit_source_missing{source="tenant"} 2.0' in metrics


async def test_what_another_process_says_in_the_tenants_name_is_chained_as_unparsed(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish(tenant_event(1), subject="gateway.requests_refused.v1")
    await publish(tenant_event(1, source="gateway"))
    entries = await chained(client, 2)
    assert [(e["action"], e["metadata"]["reason"], e["source"]) for e in entries] == [
        ("audit.unparsed", "source_mismatch", "tenant"),
        ("audit.unparsed", "subject_mismatch", "gateway"),
    ]


@pytest.fixture
async def busy(client: httpx.AsyncClient, publish: Publish) -> httpx.AsyncClient:
    """Six entries: acme of nordic 1, 2, 6; globex of fjord 3, 4; a stranger 5."""
    await publish(tenant_event(1), suspended(2))
    await publish(tenant_event(3, slug="globex", partner="fjord"), suspended(4, slug="globex", partner="fjord"))
    await publish(refused(5, id="refused-5", time="2026-11-23T00:00:00Z"), tenant_event(6))
    await chained(client, 6)
    return client


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [6, 5, 4, 3, 2, 1]),
    ({"action": "tenant.suspended"}, [4, 2]),
    ({"action": "tenant.*"}, [6, 4, 3, 2, 1]),
    ({"action": "ocis.*"}, []),
    ({"tenantSlug": "acme"}, [6, 2, 1]),
    ({"tenantSlug": "acme", "action": "tenant.*"}, [6, 2, 1]),
    ({"partnerSlug": "fjord"}, [4, 3]),
    ({"partnerSlug": "fjord", "action": "tenant.suspended"}, [4]),
    ({"actorEmail": "JANE@nordic.example"}, [6, 3, 1]),
    ({"actorEmail": "jane@nordic.example", "tenantSlug": "globex"}, [3]),
    ({"actorEmail": "nobody@nordic.example"}, []),
    ({"outcome": "denied"}, [5]),
    ({"source": "gateway"}, [5]),
    ({"q": "GLOB"}, [4, 3]),
    ({"q": "suspend"}, [4, 2]),
    ({"q": ".*"}, []),
    ({"q": "acme", "outcome": "success", "source": "tenant"}, [6, 2, 1]),
    ({"since": "2026-11-22T12:00:03.003Z"}, [6, 5, 4, 3]),
    ({"until": "2026-11-22T13:00:03.003+01:00"}, [2, 1]),
    ({"since": "2026-11-22T12:00:02Z", "until": "2026-11-22T12:00:05Z", "tenantSlug": "acme"}, [2]),
    ({"before": 3}, [2, 1]),
]


async def test_each_filter(busy: httpx.AsyncClient) -> None:
    for query, expected in FILTERS:
        assert (query, await seqs(busy, **query)) == (query, expected)


async def test_pages_follow_each_other_and_a_cursor_belongs_to_its_query(busy: httpx.AsyncClient) -> None:
    first = await busy.get("/api/audit", params={"limit": 4}, headers=by_operator())
    cursor = first.json()["next"]
    assert f"cursor={cursor}" in first.headers["link"]
    second = await read(busy, limit=4, cursor=cursor)
    assert [item["seq"] for item in [*first.json()["items"], *second["items"]]] == [6, 5, 4, 3, 2, 1]
    assert second["next"] is None
    for other in ({"action": "tenant.*"}, {"before": 9}):
        refused_ = await busy.get("/api/audit", params={"cursor": cursor, **other}, headers=by_operator())
        assert (refused_.status_code, refused_.json()["errors"][0]["code"]) == (422, "bad_cursor")
    elsewhere = await busy.get("/api/partners/nordic/audit", params={"cursor": cursor}, headers=by_operator())
    assert elsewhere.status_code == 422


MEANINGLESS: list[dict[str, Any]] = [
    {"since": "yesterday"},
    {"since": "2026-11-22T12:00:00"},
    {"until": "0001-01-01T00:00:00+23:00"},
    {"before": "0"},
    {"before": str(2**53)},
    {"action": "Tenant.*"},
    {"action": "*"},
    {"action": "tenant.*.x"},
    {"action": "tenant"},
    {"action": "ten.*"},
    {"action": "tenant.suspendet"},
    {"format": "xml"},
    {"limit": "5", "format": "csv"},
    {"cursor": "e30", "format": "ndjson"},
    {"tenantSlug": "Acme"},
    {"tenantSlug": {"$ne": ""}},
    {"actorEmail": "jane"},
    {"outcome": "maybe"},
    {"source": "a b"},
    {"q": ""},
    {"q": "a\0b"},
    {"q": "x" * 101},
    {"limit": 0},
    {"limit": 501},
    {"cursor": "x"},
    {"cursor": "e30"},
    {"tenant": "acme"},
]


async def test_a_filter_that_means_nothing_is_a_422_that_names_it(client: httpx.AsyncClient) -> None:
    for query in MEANINGLESS:
        answer = await client.get("/api/audit", params=query, headers=by_operator())
        assert (query, answer.status_code) == (query, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["field"] == next(iter(query))


NOBODY = person()
STAFF = partner_person("nordic")
ADMIN = tenant_person("acme", "admin")
MEMBER = tenant_person("acme", "member")
STRANGERS = [partner_person("fjord"), tenant_person("globex", "admin"), NOBODY]


@pytest.mark.parametrize("path", ["/api/audit", "/api/audit/verify"])
async def test_the_whole_log_is_for_operators(client: httpx.AsyncClient, path: str) -> None:
    for who in (STAFF, ADMIN, MEMBER, NOBODY, operator(surface="portal")):
        answer = await client.get(path, headers=CALLERS.headers(who))
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_token_required")
    outsider = await client.get(path, headers=CALLERS.headers(operator(platform_admin=False)))
    assert (outsider.status_code, outsider.json()["code"]) == (403, "insufficient_role")
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=by_operator())).status_code == 200


async def test_a_tenants_log_is_for_operators_its_partner_and_its_admins(busy: httpx.AsyncClient) -> None:
    path = "/api/tenants/acme/audit"
    for who in (operator(), STAFF, partner_person("nordic", "owner"), ADMIN):
        assert await seqs(busy, path, who) == [6, 2, 1]
    low = await busy.get(path, headers=CALLERS.headers(MEMBER))
    assert (low.status_code, low.json()["code"]) == (403, "insufficient_role")


async def test_a_partners_log_is_for_operators_and_its_people(busy: httpx.AsyncClient) -> None:
    path = "/api/partners/nordic/audit"
    for who in (operator(), STAFF, partner_person("nordic", "owner")):
        assert await seqs(busy, path, who) == [6, 2, 1]
    assert await seqs(busy, path, STAFF, tenantSlug="globex") == []


async def test_what_is_outside_the_scope_looks_like_what_does_not_exist(busy: httpx.AsyncClient) -> None:
    for kind in ("tenants", "partners"):
        own, missing = (f"/api/{kind}/{'acme' if kind == 'tenants' else 'nordic'}/audit", f"/api/{kind}/nothing/audit")
        for who in STRANGERS:
            bodies = []
            for path in (own, missing):
                answer = await busy.get(path, headers=CALLERS.headers(who))
                assert answer.status_code == 404
                body = answer.json()
                assert body.pop("requestId")
                bodies.append(body)
            assert bodies[0] == bodies[1]


async def test_a_new_partner_sees_nothing_of_the_time_of_the_old_one(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish(tenant_event(1, partner="nordic"), tenant_event(2, partner=None), tenant_event(3, partner="fjord"))
    await chained(client, 3)
    path = "/api/tenants/acme/audit"
    assert await seqs(client, path, partner_person("fjord")) == [3, 2]
    assert (await client.get(path, headers=CALLERS.headers(STAFF))).status_code == 404
    assert await seqs(client, path, ADMIN) == [3, 2, 1]


async def test_a_refused_reader_is_audited(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/audit", headers=CALLERS.headers(STAFF))).status_code == 403
    (entry,) = await chained(client, 1)
    assert (entry["action"], entry["outcome"], entry["source"]) == ("audit.access_denied", "denied", "audit")
    assert entry["actorEmail"] == STAFF.email


async def test_each_filter_walks_one_index_in_the_order_of_the_list(busy: httpx.AsyncClient, root_db: Database) -> None:
    ordered = [
        {},
        {"action": "tenant.*"},
        {"action": "tenant.suspended"},
        {"tenantSlug": "acme"},
        {"partnerSlug": "nordic"},
        {"actorEmail": "jane@nordic.example"},
        {"outcome": "denied"},
        {"source": "gateway"},
        {"tenantSlug": "acme", "action": "tenant.*"},
        {"partnerSlug": "nordic", "action": "tenant.suspended"},
    ]
    await root_db.command("profile", 2)
    for query in ordered:
        await read(busy, **query)
    await root_db.command("profile", 0)
    plans = root_db["system.profile"].find({"ns": f"{root_db.name}.entries", "command.sort._id": -1})
    seen = await plans.sort("ts", 1).to_list()
    assert len(seen) == len(ordered)
    for query, plan in zip(ordered, seen, strict=True):
        assert (query, plan["planSummary"], plan.get("hasSortStage", False)) == (query, plan["planSummary"], False)
        assert (query, plan["docsExamined"]) == (query, plan["nreturned"])


async def test_a_checkpoint_is_made_on_demand_once_for_each_head_and_can_be_read(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    latest = await client.get("/api/audit/checkpoint/latest", headers=by_operator())
    assert (latest.status_code, latest.json()["code"]) == (404, "no_checkpoint")
    empty = await client.post("/api/audit/checkpoint", headers=by_operator())
    assert (empty.status_code, empty.json()["code"]) == (404, "no_checkpoint")
    await publish(tenant_event(1), tenant_event(2))
    entries = await chained(client, 2)
    await eventually(lambda: _signs(client, 1), what="the checkpoint of the first entries")
    made = await client.post("/api/audit/checkpoint", headers=by_operator())
    again = await client.post("/api/audit/checkpoint", headers=by_operator())
    assert made.status_code in {200, 201}
    assert (again.status_code, again.json()) == (200, made.json())
    assert (made.json()["headSeq"], made.json()["headHash"]) == (2, entries[0]["hash"])
    assert [item["sigAlg"] for item in made.json()["signatures"]] == ["HMAC-SHA-256", "Ed25519"]
    latest = await client.get("/api/audit/checkpoint/latest", headers=by_operator())
    assert latest.json() == made.json()


async def _signs(client: httpx.AsyncClient, seq: int) -> bool:
    answer = await client.get("/api/audit/checkpoint/latest", headers=by_operator())
    return answer.status_code == 200 and answer.json()["headSeq"] >= seq


async def test_a_checkpoint_that_was_altered_is_neither_shown_nor_continued(
    client: httpx.AsyncClient, publish: Publish, root_db: Database
) -> None:
    await publish(tenant_event(1))
    await eventually(lambda: _signs(client, 1), what="the first checkpoint")
    await root_db["checkpoints"].update_one({"_id": 1}, {"$set": {"headHash": "f" * 64}})
    await publish(tenant_event(2))
    await chained(client, 2)
    for method, path in (("GET", "/api/audit/checkpoint/latest"), ("POST", "/api/audit/checkpoint")):
        answer = await client.request(method, path, headers=by_operator())
        assert (answer.status_code, answer.json()["code"]) == (409, "checkpoint_refused")
    assert "dezky_audit_checkpoint_refused 1.0" in (await client.get("/metrics")).text


async def test_a_verification_is_asked_for_once_under_its_key_and_answered_in_the_end(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish(tenant_event(1), tenant_event(2), tenant_event(3))
    await chained(client, 3)
    headers = {"idempotency-key": "once"}
    first, second = [
        await client.post("/api/audit/verifications", json={"from": 2}, headers=by_operator() | headers)
        for _ in range(2)
    ]
    assert (first.status_code, second.json()) == (202, first.json())
    place = first.headers["location"]

    async def done() -> Any:
        job = await read(client, place)
        return job if job["state"] == "done" else None

    job = await eventually(done, what="the verdict")
    assert (job["from"], job["verified"], job["of"], job["after"]) == (2, 2, 2, 1)
    assert (job["verdict"]["ok"], job["verdict"]["findings"]) == (True, [NO_WITNESS])
    missing = await client.get(f"{place}0", headers=by_operator())
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "body", [{"from": 0}, {"from": 3, "to": 2}, {"sinceCheckpoint": True, "from": 2}, {"from": 4}, {"up": 1}], ids=str
)
async def test_a_verification_of_what_cannot_be_is_refused(
    body: dict[str, Any], client: httpx.AsyncClient, publish: Publish
) -> None:
    answer = await client.post("/api/audit/verifications", json=body, headers=by_operator())
    assert answer.status_code == 422
