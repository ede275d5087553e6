"""What a caller claims about itself never reaches a service; what the gateway says always does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.auth import Person, ServicePrincipal
from tests.gateway.running import Running, answering, request, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

UUID7 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway() -> AsyncIterator[Running]:
    async with running(trusted_proxies=["127.0.0.0/8", "10.0.0.0/8", "2001:db8:f::/48"]) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exposed_gateway() -> AsyncIterator[Running]:
    """A gateway that trusts no proxy."""
    async with running() as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Running) -> Running:
    shared_gateway.service.seen.clear()
    return shared_gateway


@pytest.mark.parametrize(
    "name",
    [
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-User",
        "X-Forwarded-Anything",
        "X-Real-IP",
        "X-Dezky-Principal",
        "X-Dezky-Anything",
        "x-dEzKy-cLiEnT-iP",
        "X_Dezky_Client_Ip",
        "X-Dezky_Client-Ip",
        "X_Request_Id",
        "Content_Length",
        "Any_Thing",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Proxy-Anything",
        "TE",
        "Trailer",
        "Keep-Alive",
        "X-HTTP-Method-Override",
        "X-Original-URL",
    ],
)
async def test_a_field_that_speaks_for_the_platform_is_dropped(gateway: Running, name: str) -> None:
    assert (await gateway.get("/api/me", f"{name}: evil")).status == 200
    head = gateway.service.last.head
    assert b"evil" not in head
    if name.lower() not in {"x-dezky-client-ip"}:
        assert name.lower().encode() not in {field for field, _ in gateway.service.last.fields}


async def test_a_field_named_by_connection_is_dropped(gateway: Running) -> None:
    await gateway.get("/api/me", "Connection: close, X-Secret-Hop, Accept", "X-Secret-Hop: 1", "Accept: x/y")
    names = {name for name, _ in gateway.service.last.fields}
    assert names.isdisjoint({b"x-secret-hop", b"connection", b"accept"})


async def test_an_upgrade_is_ignored_and_never_forwarded(gateway: Running) -> None:
    raw = request("GET", "/api/me", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    client = await gateway.connect()
    await client.send(raw + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    assert (await client.answer()).status == 200
    assert await client.ended() == b""
    names = {name for name, _ in gateway.service.last.fields}
    assert names.isdisjoint({b"upgrade", b"http2-settings", b"connection"})


async def test_ordinary_fields_cross_in_order_and_unchanged(gateway: Running) -> None:
    await gateway.get("/api/me", "Accept: a/b", "X-Custom: One,  two", 'If-Match: "3"', "X-Custom: three")
    kept = [f for f in gateway.service.last.fields if f[0] in {b"accept", b"x-custom", b"if-match"}]
    assert kept == [(b"accept", b"a/b"), (b"x-custom", b"One,  two"), (b"if-match", b'"3"'), (b"x-custom", b"three")]


async def test_the_callers_token_is_replaced_by_one_for_the_service(gateway: Running) -> None:
    await gateway.get("/api/me")
    assert b"portal-token" not in gateway.service.last.head
    principal = gateway.principal("tenant")
    assert isinstance(principal, Person)
    assert (principal.id, principal.surface, principal.platform_admin) == ("id-of-jane", "portal", False)


async def test_the_surface_and_the_operator_role_are_the_tokens_word(gateway: Running) -> None:
    gateway.people.changes = {"surface": "operator", "platformAdmin": True, "groups": ["dezky-platform-admins"]}
    gateway.directory.forget_all()
    await gateway.get("/api/me")
    gateway.people.changes = {}
    gateway.directory.forget_all()
    principal = gateway.principal("tenant")
    assert (principal.surface, principal.platform_admin, principal.groups) == ("portal", False, ())


async def test_a_public_route_carries_the_gateways_own_word_and_no_token_of_the_caller(gateway: Running) -> None:
    assert (await gateway.get("/health")).status == 200
    assert b"portal-token" not in gateway.service.last.head
    assert gateway.principal("health") == ServicePrincipal(name="gateway")


async def test_the_request_id_is_always_the_gateways(gateway: Running) -> None:
    sent = "01890a5d-ac96-774b-bcce-b302099a8057"
    answer = await gateway.get("/api/me", f"X-Request-Id: {sent}")
    made = answer.field(b"x-request-id")
    assert made is not None
    assert UUID7.fullmatch(made)
    assert made != sent.encode()
    assert gateway.service.last.field(b"x-request-id") == made


async def test_a_service_cannot_speak_for_the_gateway(gateway: Running) -> None:
    raw = (
        b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nx-request-id: mine\r\nserver: x\r\nconnection: close, x-hop\r\n"
        b"x-hop: 1\r\nkeep-alive: timeout=5\r\nx-dezky-internal: 1\r\nx-powered-by: y\r\nproxy-authenticate: z\r\n"
        b'location: %b/api/me?x=1\r\netag: "1"\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\r\n'
    ) % gateway.upstreams["tenant"].origin.url.encode()
    before, gateway.service.script = gateway.service.script, answering(raw)
    answer = await gateway.get("/api/me")
    gateway.service.script = before
    assert answer.status == 201
    names = [name for name, _ in answer.fields]
    assert names.count(b"x-request-id") == 1
    assert b"mine" not in answer.raw
    dropped = {b"server", b"x-hop", b"keep-alive", b"x-dezky-internal", b"x-powered-by", b"proxy-authenticate"}
    assert dropped.isdisjoint(names)
    assert answer.field(b"location") == b"/api/me?x=1"
    assert answer.field(b"etag") == b'"1"'
    assert names.count(b"set-cookie") == 2


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([f"traceparent: {PARENT}"], PARENT),
        ([f"traceparent: {PARENT}", "tracestate: a=1"], PARENT),
        ([f"traceparent: cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds"], PARENT),
        ([f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01-x"], None),
        ([f"traceparent: ff-{TRACE}-00f067aa0ba902b7-01"], None),
        ([f"traceparent: 00-{'0' * 32}-00f067aa0ba902b7-01"], None),
        ([f"traceparent: 00-{TRACE}-{'0' * 16}-01"], None),
        ([f"traceparent: 00-{TRACE.upper()}-00f067aa0ba902b7-01"], None),
        ([f"traceparent: {PARENT}", f"traceparent: {PARENT}"], None),
        (["traceparent: x", "tracestate: a=1"], None),
        ([], None),
    ],
)
async def test_a_valid_trace_goes_on_and_any_other_begins_anew(
    gateway: Running, sent: list[str], expected: str | None
) -> None:
    """Vectors of W3C Trace Context, level 1, §3.2 and §4.3."""
    await gateway.get("/api/me", *sent)
    parent = gateway.service.last.field(b"traceparent")
    assert parent is not None
    if expected is not None:
        assert parent.decode() == expected
    else:
        assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", parent)
        assert TRACE.encode() not in parent.lower()
    state = gateway.service.last.field(b"tracestate")
    assert state == (b"a=1" if expected and len(sent) == 2 else None)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], "127.0.0.1"),
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["2001:DB8::0001"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1, 2001:db8:f::9"], "2001:db8::1"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, ::ffff:10.1.2.3"], "203.0.113.7"),
        (["fe80::1%eth0"], "fe80::1"),
        (["203.0.113.7, unknown"], "127.0.0.1"),
        (["203.0.113.7, 10.1.2.3, <script>"], "127.0.0.1"),
        (["203.0.113.7, nonsense, 10.1.2.3"], "10.1.2.3"),
        ([""], "127.0.0.1"),
    ],
)
async def test_the_address_is_the_rightmost_hop_that_no_trusted_proxy_vouches_for(
    gateway: Running, lines: list[str], address: str
) -> None:
    await gateway.get("/api/me", *(f"X-Forwarded-For: {line}" for line in lines), "X-Dezky-Client-Ip: 192.0.2.66")
    assert gateway.service.last.field(b"x-dezky-client-ip") == address.encode()


async def test_nobody_is_believed_about_addresses_but_trusted_proxies(exposed_gateway: Running) -> None:
    await exposed_gateway.get("/api/me", "X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7")
    assert exposed_gateway.service.last.field(b"x-dezky-client-ip") == b"127.0.0.1"


async def test_two_authorizations_are_refused(gateway: Running) -> None:
    answer = await gateway.get("/api/me", "Authorization: Bearer operator-token")
    assert answer.status == 400
    assert answer.problem["code"] == "invalid_request"
    assert gateway.service.seen == []


async def test_the_host_that_a_service_sees_is_its_own(gateway: Running) -> None:
    await gateway.get("/api/me")
    assert gateway.service.last.field(b"host") == gateway.upstreams["tenant"].origin.authority.encode()
