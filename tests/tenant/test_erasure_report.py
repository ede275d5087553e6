"""The report of an erasure: who has forgotten the person and when, and what remains until when and why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest
from nats.js.client import JetStreamContext

from services.tenant.people.erasure.report.backends import Gone, suite_of
from services.tenant.people.erasure.report.models import Backend, Kept, Part, account_of, status_of
from services.tenant.people.erasure.report.remains import remains_of
from services.tenant.people.erasure.report.repository import ErasureBook
from services.tenant.provisioning.models import Agreement, Condition
from services.tenant.provisioning.repository import Row
from shared.clock import SystemClock, parse_rfc3339, rfc3339
from shared.ids import new_id
from shared.mongo import Mongo
from shared.testing import operator
from shared.topology import Topology
from tests.support.servers import nats_url
from tests.support.waiting import eventually
from tests.tenant.people import House
from tests.tenant.test_people_erasure import erase, settled

OTHERS = {"partner": "partner", "billing": "billing", "flags": "flag", "health": "health", "audit": "audit"}
OPERATOR = operator()
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
# ADR 21: what goes by time, and how long that takes.
HOURS, WEEK, MONTH = timedelta(hours=13), timedelta(days=7), timedelta(days=30)
PASSING = {
    "gateway's sessions",
    "outboxes of partner, billing, flags, health, audit",
    "stream EVENTS",
    "stream DEAD_LETTERS",
}


@pytest.fixture
async def stream(nats_server: Any) -> AsyncIterator[JetStreamContext]:
    admin = await nats.connect(nats_url(nats_server, "admin"))
    yield admin.jetstream()
    await admin.close()


def answer(service: str, person: str, at: datetime) -> dict[str, Any]:
    """What a service says, written by hand from `docs/events.md`."""
    told = f"{OTHERS[service]}.person_forgotten"
    counts = {"events": 3, "answers": 1, **({"keys": 2} if service == "audit" else {})}
    data = {"actor": {"type": "system", "id": "forgetting"}, "action": told, "outcome": "success", **counts}
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": service,
        "type": f"{told}.v1",
        "subject": f"users/{person}",
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "sourceseq": 1,
        "data": {**data, "resource": {"type": "user", "id": person}},
    }


async def told(stream: JetStreamContext, topology: Topology, *events: dict[str, Any]) -> None:
    """Say it on the stream, and wait until the tenant service has taken it."""
    for event in events:
        await stream.publish(topology.subject(event["type"]), json.dumps(event).encode())

    async def heard() -> bool:
        about = await stream.consumer_info(topology.stream_events, topology.durable("tenant-forgotten"))
        return not about.num_pending and not about.num_ack_pending

    await eventually(heard)


async def report(house: House, person: str) -> dict[str, Any]:
    reply = await house.call("GET", f"/api/users/{person}/erasure")
    assert reply.status_code == 200, reply.text
    said: dict[str, Any] = reply.json()
    return said


def by_service(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["service"]: row for row in said["services"]}


def passing(said: dict[str, Any]) -> dict[str, str | None]:
    """What goes by time: where → until."""
    return {row["where"]: row["until"] for row in said["remains"] if row["where"] in PASSING}


async def aged(house: House, person: str, days: int) -> None:
    """Let all that was done be so much longer ago: the same as if the clock had moved on."""
    back = days * 86_400_000

    def ago(field: str) -> dict[str, Any]:
        return {"$subtract": [f"${field}", back]}

    names = ("tenant", *OTHERS)
    moved = {f"services.{name}.at": ago(f"services.{name}.at") for name in names}
    await house.mongo.db["erasures"].update_one({"_id": person}, [{"$set": moved}])
    await house.mongo.db["people"].update_one({"_id": person}, [{"$set": {"erased_at": ago("erased_at")}}])
    await house.mongo.db["people_refused"].update_many({"person": person}, [{"$set": {"until": ago("until")}}])


async def test_an_erasure_is_under_way_then_forgotten_then_complete(
    house: House, stream: JetStreamContext, nats_topology: Topology
) -> None:
    await house.human("other", platform_admin=True)
    anna = (await house.invite("/api/users/invite", OPERATOR, "anna")).json()["userId"]
    path = f"/api/users/{anna}/erasure"
    nobody = await house.call("GET", f"/api/users/{new_id()}/erasure")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    shut = await house.call("POST", f"/api/users/{anna}/deactivate", idempotency_key="k1")
    assert shut.status_code == 200
    # An answer may be there before anything else is.
    last = SystemClock().now() + timedelta(minutes=9)
    first = answer("audit", anna, last)
    await told(stream, nats_topology, first)
    early = await house.call("GET", path)
    assert (early.status_code, early.json()["code"]) == (409, "person_not_erased")

    now = parse_rfc3339((await erase(house, anna))["erasedAt"])
    said = await report(house, anna)
    parts = by_service(said)
    assert (said["id"], said["erasedAt"], said["status"]) == (anna, rfc3339(now), "under_way")
    assert list(parts) == ["tenant", *OTHERS]
    assert [name for name, part in parts.items() if part["forgottenAt"]] == ["audit"]
    # Two events of her invitation, one of her end, and the answer to that; who has said nothing has no counts.
    assert (parts["tenant"]["events"], parts["tenant"]["answers"], parts["partner"]["events"]) == (3, 1, None)
    account = {"backend": "authentik", "tenantSlug": None, "status": "waiting", "seenAt": None}
    assert [{**one, "reason": ""} for one in said["backends"]] == [{**account, "reason": ""}]
    sessions = passing(said).pop("gateway's sessions")
    assert sessions == rfc3339(now + HOURS)
    assert [passing(said)[where] for where in PASSING - {"gateway's sessions"}] == [None, None, None]

    # Told twice, once under another id of the message: it counts once.
    others = [answer(name, anna, now) for name in OTHERS if name != "audit"]
    await told(stream, nats_topology, *others, first)
    assert (await report(house, anna))["status"] == "under_way"
    await settled(house, anna)
    reply = await house.call("GET", path)
    said, tag = reply.json(), reply.headers["etag"]
    assert said["status"] == "forgotten"
    parts = by_service(said)
    assert {name: (row["events"], row["answers"], row["keys"]) for name, row in parts.items() if name in OTHERS} == {
        name: (3, 1, 2 if name == "audit" else None) for name in OTHERS
    }
    assert (parts["tenant"]["events"], parts["tenant"]["answers"]) == (3, 1)  # each look finds only what is left
    assert [one["status"] for one in said["backends"]] == ["gone"]
    ends = {"stream EVENTS": last + MONTH, "stream DEAD_LETTERS": last + 2 * MONTH}
    assert {where: passing(said)[where] for where in ends} == {where: rfc3339(end) for where, end in ends.items()}
    assert passing(said)["outboxes of partner, billing, flags, health, audit"] == rfc3339(last + WEEK)
    assert (await house.call("GET", path, if_none_match=tag)).status_code == 304

    await aged(house, anna, 31)
    said = await report(house, anna)
    assert (said["status"], set(passing(said))) == ("forgotten", {"stream DEAD_LETTERS"})
    assert (await house.call("GET", path, if_none_match=tag)).status_code == 200
    await aged(house, anna, 30)
    said = await report(house, anna)
    assert (said["status"], passing(said)) == ("complete", {})
    lasting = {row["where"] for row in said["remains"]}
    assert lasting >= {"MongoDB's oplog", "backups", "partner's record", "log, owners `resource:`"}
    assert all(row["until"] is None and row["why"] for row in said["remains"])


async def test_an_operators_refused_identities_and_an_account_that_was_there_before_are_among_what_remains(
    house: House,
) -> None:
    await house.human("other", platform_admin=True)
    await house.partner("nordic")
    house.make_account("olga")
    made = (await house.invite("/api/users/invite", OPERATOR, "olga")).json()
    await house.sign_in(made["subject"], "olga", "dezky-platform-admins")
    now = parse_rfc3339((await erase(house, made["userId"]))["erasedAt"])
    await settled(house, made["userId"])
    said = await report(house, made["userId"])
    assert [(one["backend"], one["status"]) for one in said["backends"]] == [("authentik", "kept")]
    remains = {row["where"]: row for row in said["remains"]}
    assert remains["authentik"]["until"] is None
    until = parse_rfc3339(remains["tenant's `people_refused`"]["until"])
    assert abs(until - now - timedelta(hours=1)) < timedelta(minutes=1)


@pytest.mark.unit
def test_what_goes_by_time_goes_at_its_time_and_not_before() -> None:
    last, tick = AT + timedelta(minutes=2), timedelta(milliseconds=1)
    ends = {
        "gateway's sessions": AT + HOURS,
        "outboxes of partner, billing, flags, health, audit": last + WEEK,
        "stream EVENTS": last + MONTH,
        "stream DEAD_LETTERS": last + 2 * MONTH,
    }

    def there(now: datetime) -> set[str]:
        left = remains_of(AT, last, now, refused_until=None, backends=[])
        return {one.where for one in left if one.until is not None}

    for where, end in ends.items():
        assert where in there(end - tick)
        assert where not in there(end)


@pytest.mark.unit
def test_nobody_is_forgotten_before_everybody_has_said_so_and_every_backend_was_seen() -> None:
    parts = {name: Part(AT, 0, 0) for name in ("tenant", *OTHERS)}
    gone = Backend("authentik", None, "gone", AT)
    assert status_of(Kept(parts), [gone], []) == "complete"
    for name in parts:
        assert status_of(Kept(parts | {name: Part(None, 1, 0)}), [gone], []) == "under_way"
        assert status_of(Kept({one: part for one, part in parts.items() if one != name}), [gone], []) == "under_way"
    waiting = Backend("ocis", "acme", "waiting")
    assert status_of(Kept(parts), [gone, waiting], []) == "under_way"
    assert account_of(Kept(), "authentik_unavailable", connected=True).reason == "authentik_unavailable"
    assert account_of(Kept(), None, connected=False).status == "not_configured"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("memo", "agreed", "seen"),
    [
        pytest.param({}, timedelta(seconds=1), "gone", id="nothing of theirs, and looked at since"),
        pytest.param({}, timedelta(seconds=-1), "waiting", id="looked at before the erasure"),
        pytest.param({}, None, "waiting", id="does not agree"),
        pytest.param({"accounts": {"p": "a1"}, "made": {"p": True}}, timedelta(seconds=1), "waiting", id="still there"),
        pytest.param({"accounts": {"p": "a1"}, "made": {}}, timedelta(seconds=1), "kept", id="not made here"),
        pytest.param({"accounts": {"q": "a1"}, "made": {"q": True}}, timedelta(seconds=1), "gone", id="another's"),
    ],
)
def test_a_mailbox_is_gone_when_a_comparison_after_the_erasure_agreed(
    memo: dict[str, Any], agreed: timedelta | None, seen: str
) -> None:
    condition = Condition("ready" if agreed else "failed", "Provisioned" if agreed else "Clash", "", AT, 1)
    seen_at = {} if agreed is None else {"stalwart": Agreement("", AT + agreed, "Provisioned", {})}
    row = Row("t1", "acme", conditions={"stalwart": condition}, memos={"stalwart": memo}, agreed=seen_at)  # type: ignore[arg-type]
    (found,) = suite_of(row, Gone("p", AT, file_user=False, has_file_user=False))
    assert (found.backend, found.tenant, found.status) == ("stalwart", "acme", seen)
    if seen == "waiting":
        assert found.reason == ("not_compared_yet" if agreed else "Clash")


@pytest.mark.unit
def test_a_user_of_the_file_service_is_one_for_all_tenants_and_goes_with_a_tenant_that_is_erased() -> None:
    ready = Condition("ready", "Provisioned", "", AT, 1)
    agreed = {"ocis": Agreement("", AT, "Provisioned", {})}
    # Another tenant's comparison has deleted the user; this one still remembers who it was.
    row = Row("t1", "acme", conditions={"ocis": ready}, memos={"ocis": {"users": {"p": "u1"}}}, agreed=agreed)  # type: ignore[arg-type]

    def status(row: Row, *, made: bool, there: bool) -> str:
        (found,) = suite_of(row, Gone("p", AT, file_user=made, has_file_user=there))
        return found.status

    assert status(row, made=True, there=True) == "waiting"
    assert status(row, made=True, there=False) == "gone"
    assert status(row, made=False, there=False) == "kept"
    retired = Row("t1", "acme", conditions={"ocis": Condition("ready", "Erased", "", AT, 1)})
    assert status(retired, made=True, there=False) == "gone"


async def test_a_service_that_answers_again_adds_to_what_it_said_in_any_order(mongo: Mongo) -> None:
    book, early, late = ErasureBook(mongo), Part(AT, 3, 1, 2), Part(AT + timedelta(hours=1), 1, 0, 0)
    for person, told in (("p", (early, late)), ("q", (late, early))):
        for part in told:
            await book.add(person, "audit", part)
        assert (await book.find(person)).services == {"audit": Part(AT + timedelta(hours=1), 4, 1, 2)}
