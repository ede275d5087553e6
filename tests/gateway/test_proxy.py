"""The data plane: streaming both ways, back-pressure, limits, and what the client is told when a service fails."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway.problems import ServiceUnavailable
from gateway.routes import MIB, Route
from gateway.token_errors import KeysUnavailable, TokenExpired
from gateway.upstream import PoolLimits
from tests.gateway.running import OK, Running, Seen, answering, request, running
from tests.support.waiting import eventually

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


async def _until(condition: Any, what: str = "") -> None:
    async def look() -> bool:
        return bool(condition())

    await eventually(look, seconds=8, pause=0.005, what=what)


# -- forwarding


async def test_a_request_reaches_its_service_as_it_was_sent() -> None:
    async with running() as gateway:
        raw = request(
            "POST", "/api/tenants/acme/suspend?a=%2F&b=c;d", "Content-Type: application/json", body=b'{"reason":"x"}'
        )
        answer = await gateway.ask(raw)
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.field(b"content-type") == b"application/json"
        seen = gateway.service.last
        assert seen.line == b"POST /api/tenants/acme/suspend?a=%2F&b=c;d HTTP/1.1"
        assert (seen.body, seen.field(b"content-type")) == (b'{"reason":"x"}', b"application/json")


@pytest.mark.parametrize("body", [b"\x00\xff raw \r\n\r\n 0\r\n\r\n", b'{"id": "evt_1",\n  "b":2 }\n'])
async def test_a_webhook_passes_byte_by_byte_and_without_a_token(body: bytes) -> None:
    async with running() as gateway:
        raw = request("POST", "/webhooks/stripe", "Stripe-Signature: t=1,v1=ab", body=body, token="")
        assert (await gateway.ask(raw)).status == 200
        assert gateway.service.last.body == body
        assert gateway.service.last.field(b"stripe-signature") == b"t=1,v1=ab"


async def test_many_requests_share_a_kept_connection() -> None:
    async with running() as gateway:
        client = await gateway.connect()
        for _ in range(5):
            await client.send(request("GET", "/api/me"))
            assert (await client.answer()).status == 200
        assert gateway.service.connections == 1


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b'HTTP/1.1 200 OK\r\ncontent-length: 4711\r\netag: "1"\r\n\r\n'),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 4711\r\n\r\n'),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_ends_with_its_head(method: str, raw: bytes) -> None:
    async with running() as gateway:
        gateway.service.script = answering(raw)
        client = await gateway.connect()
        for _ in range(2):
            await client.send(request(method, "/api/me"))
            answer = await client.answer(head_only=True)
            assert answer.status == int(raw.split(b" ")[1])
            assert answer.field(b"transfer-encoding") is None
            if b"4711" in raw:
                assert answer.field(b"content-length") == b"4711"
        gateway.service.script = answering(OK)
        await client.send(request("GET", "/api/me"))
        assert (await client.answer()).body == b"{}"


async def test_informational_answers_stay_behind() -> None:
    async with running() as gateway:
        gateway.service.script = answering(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + OK
        )
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.body, answer.field(b"link")) == (200, b"{}", None)


async def test_an_answer_that_ends_with_its_connection_is_passed_on() -> None:
    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nto the end")
        await writer.drain()
        writer.close()

    async with running() as gateway:
        gateway.service.script = script
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.body) == (200, b"to the end")


async def test_an_old_client_gets_an_answer_that_ends_with_its_connection() -> None:
    async with running() as gateway:
        gateway.service.script = answering(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"
        )
        raw = b"GET /api/me HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer portal-token\r\n\r\n"
        answer = await gateway.ask(raw)
        assert answer.body == b"abc"
        assert answer.field(b"connection") == b"close"


# -- streaming


async def test_an_event_stream_arrives_event_by_event_and_outlives_the_deadline() -> None:
    events: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while event := await events.get():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n")

    async with running(routes=[Route("/api/ofrep", "flags", timeout=0.1)]) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/ofrep/v1/events"))
        head = await client.read_head()  # before there is any event
        assert head.field(b"content-type") == b"text/event-stream"
        events.put_nowait(b"data: 1\n\n")
        assert await client.chunk() == b"data: 1\n\n"
        await asyncio.sleep(0.3)  # well past the deadline, so that a sweep would have ended it
        events.put_nowait(b"data: 2\n\n")
        assert await client.chunk() == b"data: 2\n\n"
        events.put_nowait(b"")
        assert await client.chunk() == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_passed_on_while_it_comes(chunked: bool) -> None:
    arrived: list[bytes] = []

    async def script(_: Seen, reader: Reader, writer: Writer) -> None:
        while b"last" not in b"".join(arrived):
            arrived.append(await reader.read(65536))
        writer.write(OK)

    async with running() as gateway:
        gateway.service.reads_body = False
        gateway.service.script = script
        client = await gateway.connect()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 9"
        await client.send(request("POST", "/api/tenants", framing))
        await client.send(b"5\r\nfirst\r\n" if chunked else b"first")
        await _until(lambda: b"first" in b"".join(arrived), "the first piece, before the last was sent")
        await client.send(b"4\r\nlast\r\n0\r\n\r\n" if chunked else b"last")
        assert (await client.answer()).status == 200
        wire = b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n" if chunked else b"firstlast"
        await _until(lambda: len(b"".join(arrived)) >= len(wire) - 5)
        assert wire.startswith(b"".join(arrived))
        # The connection that carried a streamed body is as good as any other.
        assert gateway.service.last.field(b"transfer-encoding") == (b"chunked" if chunked else None)


async def test_a_slow_service_slows_the_client_down_and_costs_little_memory() -> None:
    go_on = asyncio.Event()
    size = 24 * MIB

    async def script(_: Seen, reader: Reader, writer: Writer) -> None:
        await go_on.wait()
        await reader.readexactly(size)
        writer.write(OK)

    async with running(routes=[Route("/api/tenants", "tenant", body_limit=size)]) as gateway:
        gateway.service.reads_body = False
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", f"Content-Length: {size}"))
        upload = asyncio.create_task(client.send(b"x" * size))
        await _until(lambda: gateway.service.seen)
        connection = next(iter(gateway.server.server_state.connections))
        await _until(lambda: not connection._reading, "the gateway to stop reading from the client")
        assert not upload.done()
        assert connection._current.buffered < MIB
        go_on.set()
        await upload
        assert (await client.answer()).status == 200


async def test_a_slow_client_slows_the_service_down_and_costs_little_memory() -> None:
    sent = 0
    total = 24 * MIB
    piece = b"y" * 65536

    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with running() as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        await client.read_head()
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.1)
        assert sent < total, "the gateway took everything while nobody read"
        connection = next(iter(gateway.server.server_state.connections))
        assert connection._transport.get_write_buffer_size() < MIB
        received = 0
        while received < total:
            received += len(await client.reader.read(1 << 20))
        assert received == total


async def test_a_client_that_leaves_takes_its_call_with_it() -> None:
    async def script(_: Seen, reader: Reader, __: Writer) -> None:
        await reader.read()

    async with running() as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        await _until(lambda: gateway.service.open == 1 and gateway.service.seen)
        await client.close()
        await _until(lambda: gateway.service.open == 0, "the service's connection to end")
        assert gateway.upstreams["tenant"].pool.busy == 0
        assert 'status="499"' in (await gateway.get("/metrics")).body.decode()


async def test_a_client_that_leaves_while_it_sends_takes_its_call_with_it() -> None:
    async with running() as gateway:
        gateway.service.reads_body = False

        async def script(_: Seen, reader: Reader, __: Writer) -> None:
            await reader.read()

        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", "Content-Length: 1000") + b"half")
        await _until(lambda: gateway.service.open == 1)
        await client.close()
        await _until(lambda: gateway.service.open == 0)
        assert gateway.upstreams["tenant"].pool.busy == 0


async def test_continue_is_said_only_to_whom_is_admitted() -> None:
    async with running() as gateway:
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", "Expect: 100-continue", "Content-Length: 2"))
        assert (await client.answer()).status == 100
        await client.send(b"{}")
        assert (await client.answer()).status == 200
        assert gateway.service.last.field(b"expect") is None

        await client.send(request("POST", "/api/tenants", "Expect: 100-continue", "Content-Length: 2", token="forged"))
        assert (await client.answer()).status == 401
        assert await client.ended() == b""


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    async with running() as gateway:
        gateway.service.reads_body = False
        gateway.service.script = answering(b"HTTP/1.1 422 No\r\ncontent-length: 2\r\n\r\n[]")
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", "Content-Length: 500000") + b"x" * 1000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (422, b"[]")
        assert answer.field(b"connection") == b"close"
        with contextlib.suppress(ConnectionError):
            await client.send(b"x" * 1000)
        assert await client.ended() == b""
        await _until(lambda: gateway.upstreams["tenant"].pool.busy == 0)


# -- limits


async def test_an_announced_body_beyond_the_limit_is_refused_unread() -> None:
    async with running() as gateway:
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", f"Content-Length: {MIB + 1}"))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (413, "content_too_large")
        assert gateway.service.seen == []


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with running() as gateway:
        assert (await gateway.ask(request("POST", "/api/tenants", body=b"x" * MIB))).status == 200
        assert len(gateway.service.last.body) == MIB


@pytest.mark.parametrize("extra", [0, 1])
async def test_a_chunked_body_is_measured_as_it_comes(extra: int) -> None:
    async with running() as gateway:
        client = await gateway.connect()
        await client.send(request("POST", "/api/tenants", "Transfer-Encoding: chunked"))
        size = MIB + extra

        async def upload() -> None:
            with contextlib.suppress(ConnectionError):
                for at in range(0, size, 65536):
                    piece = b"x" * min(65536, size - at)
                    await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await client.send(b"0\r\n\r\n")

        task = asyncio.create_task(upload())
        answer = await client.answer()
        await task
        assert answer.status == (413 if extra else 200)
        if extra:
            assert answer.problem["code"] == "content_too_large"
            await _until(lambda: gateway.upstreams["tenant"].pool.busy == 0)
            assert gateway.service.seen == [] or gateway.service.last.body == b""


async def test_a_public_probe_takes_no_body_at_all() -> None:
    async with running() as gateway:
        assert (await gateway.ask(request("POST", "/health", body=b"x", token=""))).status == 413


# -- refusals


async def test_nobody_passes_without_a_token() -> None:
    async with running() as gateway:
        answer = await gateway.get("/api/me", token="")
        assert (answer.status, answer.problem["code"]) == (401, "unauthenticated")
        assert answer.problem["requestId"].encode() == answer.field(b"x-request-id")
        challenge = answer.field(b"www-authenticate") or b""
        assert challenge.startswith(b'Bearer realm="dezky", resource_metadata="http://')
        assert b"error=" not in challenge  # RFC 6750 §3.1
        assert gateway.service.seen == []


@pytest.mark.parametrize(
    "scheme", ["Basic amFuZTpwdw==", "Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "portal-token"]
)
async def test_what_is_no_bearer_token_is_a_bad_token(scheme: str) -> None:
    async with running() as gateway:
        answer = await gateway.get("/api/me", f"Authorization: {scheme}", token="")
        assert (answer.status, answer.problem["code"]) == (401, "invalid_token")
        assert gateway.service.seen == []


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    async with running() as gateway:
        assert (await gateway.get("/api/me", f"Authorization: {scheme} portal-token", token="")).status == 200


async def test_a_bad_token_is_told_why_in_the_challenge() -> None:
    async with running() as gateway:
        gateway.tokens.fault = TokenExpired()
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (401, "invalid_token")
        assert b'error="invalid_token", error_description="The token has expired"' in (
            answer.field(b"www-authenticate") or b""
        )


async def test_tokens_that_nobody_can_judge_are_not_called_bad() -> None:
    async with running() as gateway:
        gateway.tokens.fault = KeysUnavailable("the issuer is away", retry_after=3)
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (503, "identity_keys_unavailable")
        assert answer.field(b"retry-after") == b"3"


@pytest.mark.parametrize("path", ["/api/audit", "/api/audit/verify", "/api/users", "/api/health/platform"])
async def test_a_portal_token_opens_no_operator_route(path: str) -> None:
    async with running() as gateway:
        answer = await gateway.get(path)
        assert (answer.status, answer.problem["code"]) == (403, "operator_token_required")
        assert gateway.service.seen == []
        assert (await gateway.get(path, token="operator-token")).status == 200


async def test_a_deactivated_account_is_shut_out() -> None:
    async with running() as gateway:
        gateway.people.changes = {"active": False}
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (401, "invalid_token")
        assert answer.problem["detail"] == "the account is deactivated"
        assert b'error_description="the account is deactivated"' in (answer.field(b"www-authenticate") or b"")


async def test_without_a_directory_nobody_is_guessed() -> None:
    async with running() as gateway:
        gateway.people.fault = ServiceUnavailable("away", code="directory_unavailable", retry_after=2)
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (503, "directory_unavailable")
        assert answer.field(b"retry-after") == b"2"
        assert gateway.service.seen == []


@pytest.mark.parametrize("path", ["/", "/internal/principals", "/api/nothing", "/metrics/x", "/tenants"])
async def test_an_unknown_path_is_refused_without_asking_who_it_is(path: str) -> None:
    async with running() as gateway:
        answer = await gateway.get(path, token="")
        assert (answer.status, answer.problem["code"]) == (404, "route_not_found")


async def test_refusals_of_strangers_are_counted_by_address_route_and_code() -> None:
    async with running() as gateway:
        for _ in range(3):
            await gateway.get("/api/tenants/acme/audit", token="forged")
        await gateway.get("/api/audit")
        app = gateway.server.config.app
        found = {(r.address, r.route, r.code): r.count for r in app.refusals.collect()}
        assert found == {
            ("127.0.0.1", "/api/tenants/{slug}/audit", "invalid_token"): 3,
            ("127.0.0.1", "/api/audit", "operator_token_required"): 1,
        }


# -- failures of a service


async def test_a_service_that_nobody_runs_is_unavailable() -> None:
    async with running(dead=("partner",)) as gateway:
        answer = await gateway.get("/api/partners")
        assert (answer.status, answer.problem["code"]) == (503, "upstream_unavailable")
        assert answer.field(b"retry-after") == b"1"
        assert (await gateway.get("/api/me")).status == 200


async def _hang_up(_: Seen, __: Reader, writer: Writer) -> None:
    writer.close()


async def test_a_service_that_hangs_up_is_a_bad_gateway() -> None:
    async with running() as gateway:
        gateway.service.script = _hang_up
        for method in ("GET", "POST"):
            answer = await gateway.ask(request(method, "/api/me", body=b"x" if method == "POST" else None))
            assert (answer.status, answer.problem["code"]) == (502, "bad_gateway")


@pytest.mark.parametrize(
    "raw",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 50,
    ],
    ids=["no HTTP", "a head too large", "another protocol", "informational without end"],
)
async def test_an_answer_that_cannot_be_read_is_a_bad_gateway(raw: bytes) -> None:
    async with running() as gateway:
        gateway.service.script = answering(raw)
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (502, "bad_gateway")
        await _until(lambda: gateway.upstreams["tenant"].pool.busy == 0)


async def _fall_silent(_: Seen, reader: Reader, __: Writer) -> None:
    await reader.read()


async def test_a_service_that_does_not_answer_in_time_is_a_timeout() -> None:
    async with running(routes=[Route("/api/me", "tenant", timeout=0.15)]) as gateway:
        gateway.service.script = _fall_silent
        answer = await gateway.get("/api/me")
        assert (answer.status, answer.problem["code"]) == (504, "upstream_timeout")
        await _until(lambda: gateway.service.open == 0)


async def test_an_answer_that_breaks_off_breaks_the_connection() -> None:
    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with running() as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        assert (await client.read_head()).field(b"content-length") == b"100"
        assert len(await client.ended()) < 100
        text = (await gateway.get("/metrics")).body.decode()
        assert 'dezky_gateway_requests_total{method="GET",route="/api/me",status="502"} 1.0' in text


async def test_an_answer_that_falls_silent_is_broken_off() -> None:
    async def script(_: Seen, reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await reader.read()

    async with running(pool=PoolLimits(idle=0.15)) as gateway:
        gateway.service.script = script
        client = await gateway.connect()
        await client.send(request("GET", "/api/me"))
        await client.read_head()
        assert len(await client.ended()) < 100
        await _until(lambda: gateway.service.open == 0)


def _once_then_hang_up_on_reuse(gateway: Running) -> None:
    """Each connection answers one request, and closes as the second one comes."""
    served: set[Writer] = set()

    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        if writer in served:
            writer.close()
            return
        served.add(writer)
        writer.write(OK)

    gateway.service.script = script


@pytest.mark.parametrize(
    ("method", "body", "status", "attempts"),
    [
        ("GET", None, 200, 2),
        ("PUT", b"{}", 200, 2),
        ("DELETE", None, 200, 2),
        ("POST", b"{}", 502, 1),
        ("PATCH", b"{}", 502, 1),
    ],
)
async def test_only_what_may_be_repeated_is_repeated_on_a_fresh_connection(
    method: str, body: bytes | None, status: int, attempts: int
) -> None:
    async with running() as gateway:
        _once_then_hang_up_on_reuse(gateway)
        assert (await gateway.get("/api/me")).status == 200
        gateway.service.seen.clear()
        answer = await gateway.ask(request(method, "/api/me", body=body))
        assert answer.status == status
        assert len(gateway.service.seen) == attempts
        assert all(seen.body == (body or b"") for seen in gateway.service.seen)


async def test_what_has_begun_to_answer_is_never_repeated() -> None:
    served: set[Writer] = set()

    async def script(_: Seen, __: Reader, writer: Writer) -> None:
        if writer in served:
            writer.write(b"HTTP/1.1 2")
            await writer.drain()
            writer.close()
            return
        served.add(writer)
        writer.write(OK)

    async with running() as gateway:
        gateway.service.script = script
        assert (await gateway.get("/api/me")).status == 200
        gateway.service.seen.clear()
        assert (await gateway.get("/api/me")).status == 502
        assert len(gateway.service.seen) == 1
