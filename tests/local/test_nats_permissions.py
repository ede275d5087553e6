"""What NATS itself refuses, with the users that the runner configures, whatever a process's code tries."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import nats
import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import APIError, NotFoundError

from infrastructure.local.credentials import Credentials
from infrastructure.local.place import Place
from infrastructure.local.readiness import nats_users, prepare_nats
from infrastructure.local.servers import NatsServer, render_config
from tests.support.waiting import eventually

Connect = Callable[[str], Awaitable[tuple[Client, list[str]]]]


@pytest.fixture
def server(place: Place, credentials: Credentials) -> Iterator[NatsServer]:
    port, monitor = place.port(31), place.port(32)
    text = render_config(port, monitor, place.state / "nats", nats_users(credentials))
    running = NatsServer(place.state, port, monitor, text)
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def connect(server: NatsServer, place: Place, credentials: Credentials) -> AsyncIterator[Connect]:
    """Connects as a process; returns the connection and the list where the server's refusals arrive."""
    await prepare_nats(place, credentials)
    opened: list[Client] = []

    async def connect_as(user: str) -> tuple[Client, list[str]]:
        refusals: list[str] = []

        async def refused(error: Exception) -> None:
            refusals.append(str(error).lower())

        url = f"nats://{user}:{credentials.nats[user]}@127.0.0.1:{server.port}"
        connection = await nats.connect(url, error_cb=refused, inbox_prefix=f"_INBOX.{user}".encode())
        opened.append(connection)
        return connection, refusals

    yield connect_as
    for connection in opened:
        await connection.close()


async def violates(connection: Client, refusals: list[str], subject: str) -> bool:
    """True when the server refuses a publication on the subject and says which."""
    await connection.publish(subject, b"forged")
    await connection.flush()

    async def named() -> bool:
        return any("permissions violation" in line and subject.lower() in line for line in refusals)

    return await eventually(named, seconds=5)


async def test_a_process_publishes_its_own_types(connect: Connect) -> None:
    tenant, refusals = await connect("tenant")
    acknowledged = await tenant.jetstream().publish("events.tenant.created.v1", b"{}")
    assert acknowledged.stream == "EVENTS"
    assert not refusals


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("tenant", "events.audit.verified.v1"),
        ("tenant", "events.session.started.v1"),
        ("audit", "events.tenant.created.v1"),
        ("gateway", "events.tenant.created.v1"),
        ("tenant", "dead.audit-chain.tenant.created.v1"),
    ],
)
async def test_a_process_cannot_publish_for_another(connect: Connect, user: str, subject: str) -> None:
    connection, refusals = await connect(user)
    assert await violates(connection, refusals, subject)
    admin, _ = await connect("admin")
    with pytest.raises(NotFoundError):
        await admin.jetstream().get_last_msg("EVENTS", subject)


@pytest.mark.parametrize("subject", [">", "events.>", "events.session.started.v1", "_INBOX.>", "_INBOX.gateway.>"])
async def test_a_process_cannot_listen_beyond_its_row(connect: Connect, subject: str) -> None:
    tenant, refusals = await connect("tenant")
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(str(message))

    await tenant.subscribe(subject, cb=hear)
    await tenant.flush()

    async def refused() -> bool:
        return bool(refusals)

    assert await eventually(refused, seconds=5)
    assert "permissions violation" in refusals[0]
    admin, _ = await connect("admin")
    await admin.publish("_INBOX.gateway.1", b"for the gateway")
    await admin.flush()
    await tenant.flush()
    assert heard == []


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.audit-chain",
        "$JS.ACK.EVENTS.audit-chain.1.1.1.1.0",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
    ],
)
async def test_a_process_cannot_use_anothers_consumer_nor_administer_a_stream(connect: Connect, subject: str) -> None:
    tenant, refusals = await connect("tenant")
    assert await violates(tenant, refusals, subject)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("tenant", "$JS.API.STREAM.MSG.GET.DEAD_LETTERS"),
        ("tenant", "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS"),
        ("health", "$JS.API.STREAM.MSG.DELETE.EVENTS"),
        ("health", "$JS.API.STREAM.PURGE.DEAD_LETTERS"),
        ("health", "events.user.erased.v1"),
    ],
)
async def test_dead_letters_are_tended_one_by_one_by_the_health_service_alone(
    connect: Connect, user: str, subject: str
) -> None:
    connection, refusals = await connect(user)
    assert await violates(connection, refusals, subject)


async def test_the_health_service_reads_replaces_and_deletes_a_dead_letter(connect: Connect) -> None:
    flags, _ = await connect("flags")
    buried = await flags.jetstream().publish("dead.flags-tenants.tenant.created.v1", b"{}")
    health, refusals = await connect("health")
    streams = health.jetstream()
    assert (await streams.get_msg("DEAD_LETTERS", buried.seq)).data == b"{}"
    assert (await streams.publish("dead.flags-tenants.tenant.created.v1", b"[]")).stream == "DEAD_LETTERS"
    assert await streams.delete_msg("DEAD_LETTERS", buried.seq)
    assert not refusals


async def test_a_consumer_is_open_to_its_owner_only(connect: Connect) -> None:
    tenant, _ = await connect("tenant")
    await tenant.jetstream().publish("events.tenant.created.v1", b"{}")
    audit, _ = await connect("audit")
    for connection, works in ((audit, True), (tenant, False)):
        reader = await connection.jetstream().pull_subscribe_bind("audit-chain", "EVENTS")
        try:
            fetched = await reader.fetch(1, timeout=1)
        except (TimeoutError, NatsTimeout, APIError):
            assert not works
        else:
            assert works
            assert fetched[0].data == b"{}"


@pytest.mark.parametrize("user", ["tenant", "admin", "nobody"])
def test_a_wrong_password_is_refused(server: NatsServer, user: str) -> None:
    greeting = {"user": user, "pass": "guess", "verbose": False}
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as stranger,
        stranger.makefile("rb") as answers,
    ):
        assert answers.readline().startswith(b"INFO ")
        stranger.sendall(b"CONNECT " + json.dumps(greeting).encode() + b"\r\nPING\r\n")
        assert answers.readline() == b"-ERR 'Authorization Violation'\r\n"
