"""The directory's cache: fresh or not at all, one look-up at a time, and never older than what was heard."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.changes import Changes
from gateway.directory import Directory, PersonDeactivated, TenantDirectory
from gateway.identity import Credentials
from gateway.problems import ServiceUnavailable
from gateway.sweeper import Sweeper
from gateway.upstream import Origin, Upstream
from shared import context
from shared.auth import InternalTokenIssuer, InternalTokenVerifier, ServicePrincipal
from shared.bus import Bus
from shared.clock import SystemClock
from shared.testing import public_keys, seed_of
from shared.topology import Topology
from tests.gateway.running import People, Service, answering, verified
from tests.support.servers import nats_url
from tests.support.waiting import eventually


class Time:
    """A monotonic clock that stands still until moved, and an ear that is open or not."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.live = False

    def __call__(self) -> float:
        return self.now


def _made(people: People, capacity: int = 100) -> tuple[Directory, Time]:
    time = Time()
    return Directory(people, now=time, live=lambda: time.live, capacity=capacity), time


JANE = verified("portal", "jane")
JOE = verified("portal", "joe")


async def _tenants_of(directory: Directory) -> dict[str, str]:
    return dict((await directory.caller(JANE)).person.tenants)


@pytest.mark.parametrize(("live", "seconds"), [(False, 30.0), (True, 600.0)])
async def test_an_answer_is_kept_as_long_as_it_may_be_trusted(live: bool, seconds: float) -> None:
    people = People()
    directory, time = _made(people)
    time.live = live
    first = await directory.caller(JANE)
    time.now += seconds - 0.001
    assert await directory.caller(JANE) is first
    assert people.asked == 1
    time.now += 0.001
    assert await directory.caller(JANE) is not first
    assert people.asked == 2


async def test_an_answer_ages_faster_once_nothing_is_heard_any_more() -> None:
    people = People()
    directory, time = _made(people)
    time.live = True
    await directory.caller(JANE)
    time.now += 60
    time.live = False
    await directory.caller(JANE)
    assert people.asked == 2


async def test_a_stale_answer_is_no_answer() -> None:
    people = People()
    directory, time = _made(people)
    await directory.caller(JANE)
    people.fault = ServiceUnavailable("away")
    time.now += 29
    await directory.caller(JANE)
    time.now += 1
    with pytest.raises(ServiceUnavailable):
        await directory.caller(JANE)


async def test_a_thousand_requests_ask_once() -> None:
    people = People()
    people.gate = asyncio.Event()
    directory, _ = _made(people)
    calls = [asyncio.create_task(directory.caller(JANE)) for _ in range(1_000)]
    await eventually(lambda: _true(people.asked == 1))
    people.gate.set()
    assert len({id(caller) for caller in await asyncio.gather(*calls)}) == 1
    assert people.asked == 1


async def _true(condition: bool) -> bool:
    return condition


async def test_one_who_gives_up_takes_nobody_with_him() -> None:
    people = People()
    people.gate = asyncio.Event()
    directory, _ = _made(people)
    first, second = asyncio.create_task(directory.caller(JANE)), asyncio.create_task(directory.caller(JANE))
    await eventually(lambda: _true(people.asked == 1))
    first.cancel()
    people.gate.set()
    assert (await second).person.id == "id-of-jane"


async def test_a_failure_is_not_kept() -> None:
    people = People()
    people.fault = ServiceUnavailable("away")
    directory, _ = _made(people)
    with pytest.raises(ServiceUnavailable):
        await directory.caller(JANE)
    people.fault = None
    assert (await directory.caller(JANE)).person.id == "id-of-jane"


async def test_a_deactivated_person_is_known_as_such() -> None:
    people = People()
    people.changes = {"active": False}
    directory, _ = _made(people)
    for _ in range(2):
        with pytest.raises(PersonDeactivated):
            await directory.caller(JANE)
    assert people.asked == 1
    with pytest.raises(PersonDeactivated):
        directory.known(JANE)


@pytest.mark.parametrize(
    "change",
    [{"active": None}, {"active": "yes"}, {"version": None}, {"version": "1"}, {"id": None}, {"tenants": []}],
)
async def test_an_answer_that_cannot_be_read_lets_nobody_in(change: dict[str, Any]) -> None:
    people = People()
    people.changes = change
    directory, _ = _made(people)
    with pytest.raises(ServiceUnavailable):
        await directory.caller(JANE)


async def test_another_surface_or_other_groups_are_another_question() -> None:
    people = People()
    directory, _ = _made(people)
    plain = await directory.caller(JANE)
    on_operator = await directory.caller(verified("operator", "jane", ("dezky-platform-admins",)))
    assert people.asked == 2
    assert (plain.person.surface, plain.person.platform_admin) == ("portal", False)
    assert (on_operator.person.surface, on_operator.person.platform_admin) == ("operator", True)


async def test_the_cache_is_bounded() -> None:
    people = People()
    directory, _ = _made(people, capacity=2)
    for name in ("a", "b", "c"):
        await directory.caller(verified("portal", name))
    assert len(directory._entries) == 2
    assert directory.known(verified("portal", "a")) is None
    assert directory.known(verified("portal", "c")) is not None


async def test_a_change_of_a_person_forgets_that_person_only() -> None:
    people = People()
    directory, _ = _made(people)
    await directory.caller(JANE)
    await directory.caller(JOE)
    directory.person_changed("id-of-jane", 1)
    assert directory.known(JANE) is None
    assert directory.known(JOE) is not None


async def test_a_change_of_a_tenant_or_partner_forgets_its_people() -> None:
    people = People()
    directory, _ = _made(people)
    people.changes = {"tenants": {"acme": "admin"}, "partner": {"slug": "nordic", "role": "owner"}}
    for scope, forgotten in (
        ("tenant:acme", True),
        ("partner:nordic", True),
        ("tenant:globex", False),
        ("partner:acme", False),
    ):
        await directory.caller(JANE)
        directory.scope_changed([scope])
        assert (directory.known(JANE) is None) == forgotten, scope


async def test_an_answer_older_than_what_was_heard_is_asked_for_again() -> None:
    people = People()
    people.gate = asyncio.Event()
    directory, _ = _made(people)
    call = asyncio.create_task(directory.caller(JANE))
    await eventually(lambda: _true(people.asked == 1))  # the answer with version 1 is on its way
    directory.person_changed("id-of-jane", 2)
    people.changes = {"version": 2, "tenants": {"acme": "admin"}}
    people.gate.set()
    assert (await call).person.version == 2
    assert people.asked == 2
    assert directory.known(JANE) is not None


async def test_a_directory_that_lags_behind_what_was_heard_is_not_believed() -> None:
    people = People()
    directory, _ = _made(people)
    directory.person_changed("id-of-jane", 2)
    with pytest.raises(ServiceUnavailable):
        await directory.caller(JANE)
    assert directory.known(JANE) is None


@pytest.mark.parametrize("what", ["person", "tenant", "everybody"])
async def test_an_answer_that_a_change_overtook_is_not_kept(what: str) -> None:
    people = People()
    people.changes = {"tenants": {"acme": "admin"}}
    people.gate = asyncio.Event()
    directory, _ = _made(people)
    call = asyncio.create_task(directory.caller(JANE))
    await eventually(lambda: _true(people.asked == 1))
    if what == "person":
        directory.person_changed("id-of-jane", None)
    elif what == "tenant":
        directory.scope_changed(["tenant:acme"])
    else:
        directory.forget_all()
    people.gate.set()
    await call
    assert directory.known(JANE) is None


async def test_a_change_of_somebody_else_does_not_keep_an_answer_from_being_kept() -> None:
    people = People()
    people.gate = asyncio.Event()
    directory, _ = _made(people)
    call = asyncio.create_task(directory.caller(JANE))
    await eventually(lambda: _true(people.asked == 1))
    directory.person_changed("id-of-joe", 7)
    directory.scope_changed(["tenant:acme"])
    people.gate.set()
    await call
    assert directory.known(JANE) is not None


# -- over the wire


def _event(**data: Any) -> bytes:
    """Return an event as a service publishes it (ARCHITECTURE §4)."""
    event_type = data.pop("type", "user.role_changed.v1")
    source = data.pop("source", "tenant")
    return orjson.dumps(
        {"specversion": "1.0", "id": "1", "source": source, "type": event_type, "data": {"outcome": "success", **data}}
    )


@pytest.mark.parametrize(
    ("event", "forgotten"),
    [
        (_event(resource={"type": "user", "id": "id-of-jane"}, version=2), True),
        (_event(resource={"type": "user", "id": "id-of-joe"}, version=2), False),
        (_event(type="tenant.suspended.v1", resource={"type": "tenant", "id": "acme"}), True),
        (_event(type="tenant.suspended.v1", resource={"type": "x", "id": "y", "tenantSlug": "acme"}), True),
        (_event(type="tenant.updated.v1", resource={"type": "tenant", "id": "globex", "tenantSlug": "globex"}), False),
        (_event(type="tenant.access_denied.v1", resource={"type": "tenant", "id": "acme"}, outcome="denied"), False),
        (_event(type="partner.updated.v1", source="tenant", resource={"type": "tenant", "id": "acme"}), False),
        (_event(type="tenant.usage_changed.v1", resource={"type": "tenant", "id": "acme"}), False),
        (b"no json", True),
        (_event(resource=None), True),
    ],
    ids=[
        "the person",
        "another person",
        "the tenant",
        "a part of the tenant",
        "another tenant",
        "a refusal",
        "a source that does not own the type",
        "the tenant's use",
        "not to be read",
        "without a resource",
    ],
)
async def test_an_event_forgets_whom_it_concerns(event: bytes, forgotten: bool) -> None:
    people = People()
    people.changes = {"tenants": {"acme": "admin"}}
    directory, _ = _made(people)
    changes = Changes(Bus("nats://127.0.0.1:9", "gateway", Topology()), directory)
    await directory.caller(JANE)
    await changes.hear(event)
    assert (directory.known(JANE) is None) == forgotten


async def test_changes_are_heard_over_nats_and_a_lost_connection_forgets_everybody(
    nats_server: Any, nats_topology: Topology
) -> None:
    people = People()
    directory, _ = _made(people)
    bus = Bus(nats_url(nats_server, "gateway"), "gateway", nats_topology)
    changes = Changes(bus, directory)
    publisher = Bus(nats_url(nats_server, "tenant"), "tenant", nats_topology)
    await directory.caller(JANE)
    publisher.start()
    changes.start()
    try:
        assert not changes.live
        await eventually(lambda: _true(changes.live and publisher.connected))
        assert directory.known(JANE) is None, "kept from the time before anything was heard"
        await directory.caller(JANE)
        await directory.caller(JOE)
        event = _event(resource={"type": "user", "id": "id-of-jane"}, version=1)
        await publisher.send(nats_topology.subject("user.role_changed.v1"), event)
        await eventually(lambda: _true(directory.known(JANE) is None))
        assert directory.known(JOE) is not None
        await bus._client._process_op_err(ConnectionResetError("cut by the test"))
        await eventually(lambda: _true(directory.known(JOE) is None and changes.live))
    finally:
        await changes.close()
        await publisher.close()
    assert not changes.live


async def test_nothing_counts_as_heard_before_the_server_has_the_subscriptions() -> None:
    """A PING is answered after what was sent before it (NATS client protocol), so one must follow the last SUB."""
    commands: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
            while line := await reader.readline():
                commands.append(line.split()[0])
                if commands[-1] == b"PING":
                    writer.write(b"PONG\r\n")
        finally:  # the test may end before this has read the end of the connection
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    directory, _ = _made(People())
    changes = Changes(Bus(f"nats://127.0.0.1:{port}", "gateway", Topology()), directory)
    changes.start()
    try:
        await eventually(lambda: _true(changes.live))
        assert commands.count(b"SUB") == 4
        assert b"PING" in commands[len(commands) - commands[::-1].index(b"SUB") :]
    finally:
        await changes.close()
        server.close()


async def test_the_question_is_asked_as_the_gateway() -> None:
    service, sweeper, clock = Service(), Sweeper(), SystemClock()
    await service.start()
    service.script = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n" + b'{"id":"1","version":1}')
    upstream = Upstream("tenant", Origin("127.0.0.1", service.port), sweeper)
    credentials = Credentials(InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), clock), clock)
    source = TenantDirectory(upstream, credentials)
    context.bind(context.RequestContext(client_ip="203.0.113.7"))
    try:
        assert await source.look_up(verified("portal", "jane", ("g",))) == {"id": "1", "version": 1}
        seen = service.last
        assert seen.line == b"POST /internal/principals HTTP/1.1"
        assert orjson.loads(seen.body) == {
            "identityProvider": "authentik",
            "subject": "jane",
            "email": "jane@nordic.example",
            "name": "Jane",
            "groups": ["g"],
            "surface": "portal",
            "clientIp": "203.0.113.7",
        }
        line = seen.field(b"authorization") or b""
        verifier = InternalTokenVerifier("tenant", public_keys(), clock)
        assert verifier.verify(line.decode().removeprefix("Bearer ")) == ServicePrincipal(name="gateway")

        for raw in (
            b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{x",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        ):
            service.script = answering(raw)
            with pytest.raises(ServiceUnavailable):
                await source.look_up(JANE)
    finally:
        upstream.close()
        await service.stop()
