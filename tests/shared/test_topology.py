"""Who may say what to whom: the table, and the permissions that follow from it."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from shared import topology
from shared.topology import PROCESSES, BucketSpec, Process, Topology, owner_of

pytestmark = pytest.mark.unit

NAMES = [process.name for process in PROCESSES]


def covers(pattern: str, subject: str) -> bool:
    """Whether a NATS pattern matches a subject, as the documentation of NATS subjects says."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)


def may_publish(process: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in Topology().permissions(process)["publish"])


def may_hear(process: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in Topology().permissions(process)["subscribe"])


@pytest.mark.parametrize(
    ("event_type", "owner"),
    [
        ("tenant.created.v1", "tenant"),
        ("user.updated.v1", "tenant"),
        ("platform.configured.v1", "tenant"),
        ("session.started.v1", "gateway"),
        ("gateway.requests_refused.v1", "gateway"),
        ("audit.verified.v1", "audit"),
        ("tenants.created.v1", None),
        ("Tenant.created.v1", None),
        ("tenant", "tenant"),
        ("", None),
        (".tenant.created.v1", None),
        ("*.created.v1", None),
    ],
)
def test_the_first_word_of_a_type_names_its_owner(event_type: str, owner: str | None) -> None:
    assert owner_of(event_type) == owner


def test_no_word_and_no_consumer_belongs_to_two() -> None:
    words = [word for process in PROCESSES for word in process.owns]
    consumers = [spec.name for process in PROCESSES for spec in process.consumers]
    assert len(words) == len(set(words))
    assert len(consumers) == len(set(consumers))


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(NAMES, 2)))
def test_a_process_may_neither_speak_for_another_nor_touch_its_consumers_and_inbox(one: str, other: str) -> None:
    for word in topology.BY_NAME[other].owns:
        assert may_publish(other, f"events.{word}.happened.v1")
        assert not may_publish(one, f"events.{word}.happened.v1")
    for spec in topology.BY_NAME[other].consumers:
        for subject in (
            f"$JS.API.CONSUMER.MSG.NEXT.EVENTS.{spec.name}",
            f"$JS.ACK.EVENTS.{spec.name}.1.2.3.4.5",
            f"$JS.ACK.hub.account.EVENTS.{spec.name}.1.2.3.4.5",
        ):
            assert may_publish(other, subject)
            assert not may_publish(one, subject)
        assert may_publish(other, f"dead.{spec.name}.tenant.created.v1")
        assert may_publish(one, f"dead.{spec.name}.tenant.created.v1") == (one == "health")
    assert may_hear(other, f"_INBOX.{other}.x")
    assert not may_hear(one, f"_INBOX.{other}.x")
    assert not may_publish(one, f"_INBOX.{other}.x")


@pytest.mark.parametrize("process", NAMES)
@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.CREATE.X",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.STREAM.PURGE.DEAD_LETTERS",
        "$JS.API.STREAM.UPDATE.DEAD_LETTERS",
        "$JS.API.STREAM.DELETE.DEAD_LETTERS",
        "$JS.API.CONSUMER.CREATE.DEAD_LETTERS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS.mine",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine",
        "$JS.API.CONSUMER.DELETE.EVENTS.audit-chain",
        "$SYS.REQ.SERVER.PING",
        "events",
        "events.unowned.v1",
    ],
)
def test_nobody_administers_streams_or_reads_around_its_consumer(process: str, subject: str) -> None:
    assert not may_publish(process, subject)


@pytest.mark.parametrize("process", NAMES)
@pytest.mark.parametrize("request_", ["INFO", "MSG.GET", "MSG.DELETE"])
def test_the_health_service_alone_tends_the_dead_letters(process: str, request_: str) -> None:
    assert may_publish(process, f"$JS.API.STREAM.{request_}.DEAD_LETTERS") == (process == "health")


@pytest.mark.parametrize("process", NAMES)
def test_nobody_hears_everything(process: str) -> None:
    heard = {word for p in PROCESSES for word in p.owns if may_hear(process, f"events.{word}.happened.v1")}
    allowed = {pattern.split(".")[0] for pattern in topology.BY_NAME[process].live}
    assert heard <= allowed
    assert not may_hear(process, "dead.audit-chain.tenant.created.v1")
    assert not may_hear(process, "$JS.ACK.EVENTS.audit-chain.1.2.3.4.5")


BUCKET = BucketSpec("sessions", timedelta(hours=1))


def test_a_bucket_is_read_and_written_and_not_administered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        topology.BY_NAME, "keeper", Process("keeper", owns=(), buckets=(BucketSpec("sessions", timedelta(hours=1)),))
    )
    assert may_publish("keeper", "$KV.sessions.k")
    assert may_publish("keeper", "$JS.API.STREAM.MSG.GET.KV_sessions")
    assert may_publish("keeper", "$JS.API.DIRECT.GET.KV_sessions.$KV.sessions.k")
    for subject in ("$KV.others.k", "$JS.API.STREAM.DELETE.KV_sessions", "$JS.API.STREAM.PURGE.KV_sessions"):
        assert not may_publish("keeper", subject)


@pytest.mark.parametrize("process", [name for name in NAMES if name != "gateway"])
def test_nobody_but_the_gateway_touches_the_browser_sessions(process: str) -> None:
    for subject in (
        "$KV.gateway-sessions.operator.a.b.c",
        "$JS.API.STREAM.MSG.GET.KV_gateway-sessions",
        "$JS.API.DIRECT.GET.KV_gateway-sessions",
        "$JS.API.DIRECT.GET.KV_gateway-sessions.$KV.gateway-sessions.operator.a.b.c",
        "$JS.API.STREAM.INFO.KV_gateway-sessions",
        "$JS.API.CONSUMER.CREATE.KV_gateway-sessions",
    ):
        assert not may_publish(process, subject)
    assert may_publish("gateway", "$KV.gateway-sessions.operator.a.b.c")
    assert not may_hear(process, "$KV.gateway-sessions.operator.a.b.c")


def test_a_bucket_keeps_one_value_for_its_time_to_live_under_the_fleets_prefix() -> None:
    (config,) = Topology("t1").bucket_configs()
    assert (config["name"], config["subjects"]) == ("KV_t1-gateway-sessions", ["$KV.t1-gateway-sessions.>"])
    assert config["max_msgs_per_subject"] == 1
    assert config["max_age"] == 3600 * 10**9


def configs(prefix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    events, dead = Topology(prefix).stream_configs()
    return events, dead


def test_the_stream_refuses_rather_than_drops_and_takes_whole_batches() -> None:
    events, dead = configs()
    assert (events["name"], events["subjects"], events["discard"]) == ("EVENTS", ["events.>"], "new")
    assert events["allow_atomic"] is True
    assert events["max_age"] == 30 * 24 * 3600 * 10**9
    assert events["max_bytes"] > 0
    assert (dead["name"], dead["subjects"]) == ("DEAD_LETTERS", ["dead.>"])


def test_a_consumer_redelivers_for_ever_because_the_count_is_ours() -> None:
    for body in Topology().consumer_configs():
        assert body["config"]["max_deliver"] == -1
        assert body["config"]["ack_policy"] == "explicit"


def test_a_prefix_keeps_one_fleet_from_hearing_another() -> None:
    ours, theirs = Topology("a"), Topology("b")
    assert {c["name"] for c in ours.stream_configs()}.isdisjoint(c["name"] for c in theirs.stream_configs())
    for subject in (ours.subject("tenant.created.v1"), ours.dead_subject("audit-chain", "tenant.created.v1")):
        assert not any(covers(p, subject) for c in theirs.stream_configs() for p in c["subjects"])
        assert not any(covers(p, subject) for p in theirs.permissions("tenant")["publish"])
