"""Request smuggling and path confusion, byte by byte on real sockets.

What must be refused is what RFC 9112 §5, §6 and §11.2 name, and the vectors published for proxies since 2005 (CL.TE,
TE.CL, TE.TE, doubled Content-Length, bare line feeds, folded headers, chunk extensions with line breaks).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway.running import OK, Answer, Running, answering, request, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = b"POST /webhooks/stripe HTTP/1.1\r\nHost: api.dezky.example\r\n"
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: api.dezky.example\r\nX-Smuggled: yes\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED: dict[str, bytes] = {
    "Content-Length beside Transfer-Encoding": HEAD + b"Content-Length: 6\r\n" + CHUNKED + b"0\r\n\r\nX",
    "Transfer-Encoding beside Content-Length": HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "two equal lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two different lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 40\r\n\r\nabc",
    "a list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "an empty length": HEAD + b"Content-Length:\r\n\r\nabc",
    "a length beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "a coding before chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\nabc",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\n" + CHUNKED + b"0\r\n\r\n",
    "chunked in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked after a vertical tab": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"0\r\n\r\n",
    "a bare line feed after the request line": HEAD.replace(b"1.1\r\n", b"1.1\n") + b"\r\n",
    "a bare line feed after a field": HEAD + b"X: 1\nY: 2\r\n\r\n",
    "a bare line feed at the end of the head": HEAD + b"X: 1\r\n\n",
    "a bare carriage return in a field": HEAD + b"X: 1\rY: 2\r\n\r\n",
    "a folded field": HEAD + b"X: 1\r\n 2\r\n\r\n",
    "a folded field after an empty value": HEAD + b"X:\r\n\t2\r\n\r\n",
    "a fold before the first field": b"GET /health HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n",
    "NUL in a field": HEAD + b"X: 1\x002\r\n\r\n",
    "NUL in a name": HEAD + b"X\x00: 1\r\n\r\n",
    "a field without a name": HEAD + b": 1\r\n\r\n",
    "a chunk size in decimal with a sign": HEAD + CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": HEAD + CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": HEAD + CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a space after the chunk size": HEAD + CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a bare line feed after the chunk size": HEAD + CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "a line feed in a chunk extension": HEAD + CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "no line break after a chunk": HEAD + CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n",
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "two Hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "an empty Host": b"GET /health HTTP/1.1\r\nHost:\r\n\r\n",
    "a list in Host": b"GET /health HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a user in Host": b"GET /health HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a path in Host": b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "another host in the target": b"GET http://b/health HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority as target": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk as target": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a body with an upgrade": HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway() -> AsyncIterator[Running]:
    async with running() as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Running) -> Running:
    """One gateway for all messages of this module: none of them may leave a trace."""
    shared_gateway.service.seen.clear()
    shared_gateway.service.script = answering(OK)
    return shared_gateway


async def _refused(gateway: Running, raw: bytes) -> Answer:
    """Send a message that must be refused, with a smuggled one behind it, and read to the end."""
    client = await gateway.connect()
    await client.send(raw + SMUGGLED)
    found = await client.answer()
    assert await client.ended() == b"", "the connection went on after a refusal"
    return found


@pytest.mark.parametrize("name", REFUSED)
async def test_an_ambiguous_message_is_refused_and_ends_the_connection(gateway: Running, name: str) -> None:
    found = await _refused(gateway, REFUSED[name])
    assert found.status == 400, found.raw
    assert found.problem["code"]
    assert found.field(b"connection") == b"close"
    assert not any(b"x-smuggled" in seen.head.lower() for seen in gateway.service.seen)


@pytest.mark.parametrize("split", [1, 7, 60])
async def test_an_ambiguous_message_is_refused_however_it_is_cut(gateway: Running, split: int) -> None:
    for name in ("two different lengths", "a bare line feed after a field", "two Hosts", "a folded field"):
        client = await gateway.connect()
        raw = REFUSED[name]
        try:
            for at in range(0, len(raw), split):
                client.writer.write(raw[at : at + split])
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert (await client.answer()).status == 400, name


@pytest.mark.parametrize(
    ("method", "status"),
    [("TRACE", 501), ("CONNECT", 501), ("PROPFIND", 501), ("get", 501), ("FOO", 501), ("PURGE", 501)],
)
async def test_a_method_that_we_do_not_speak_is_refused(gateway: Running, method: str, status: int) -> None:
    target = "a:80" if method == "CONNECT" else "/api/me"
    found = await _refused(gateway, f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert found.status == status
    assert found.problem["code"] == "method_not_implemented"


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_another_version_of_http_is_refused(gateway: Running, version: str) -> None:
    found = await _refused(gateway, f"GET /health HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert found.status == 505


PATHS = {
    "a dot segment": "/api/tenants/../audit",
    "a dot segment at the end": "/api/tenants/..",
    "a single dot": "/api/./audit",
    "an encoded dot segment": "/api/tenants/%2e%2E/audit",
    "a half encoded dot segment": "/api/tenants/.%2e/audit",
    "an empty segment": "/api//audit",
    "an empty segment at the start": "//api/audit",
    "two slashes at the end": "/api/tenants//",
    "an encoded slash": "/api/tenants/a%2fb",
    "an encoded slash in capitals": "/api/tenants%2Faudit",
    "a backslash": "/api/tenants\\audit",
    "an encoded backslash": "/api/tenants/..%5c",
    "an encoded NUL": "/api/tenants/a%00",
    "an encoded line feed": "/api/tenants/a%0ab",
    "an encoded DEL": "/api/tenants/%7f",
    "broken percent-encoding": "/api/tenants/%zz",
    "percent-encoding cut short": "/api/tenants/%2",
    "percent-encoding that is not UTF-8": "/api/tenants/%ff",
    "overlong UTF-8 for a slash": "/api/tenants/%c0%af",
    "a fragment": "/api/tenants#x",
    "angle brackets": "/api/tenants/<x>",
    "a quote": '/api/tenants/"',
    "a caret": "/api/tenants/^",
    "a non-ASCII byte": "/api/tenants/\xe9",
}


@pytest.mark.parametrize("name", PATHS)
async def test_a_path_with_two_readings_is_refused(gateway: Running, name: str) -> None:
    found = await gateway.get(PATHS[name])
    assert found.status == 400, found.raw
    assert found.problem["code"] in {"invalid_path", "invalid_target", "malformed_request"}
    assert gateway.service.seen == []


async def test_an_encoded_letter_is_routed_as_the_service_will_read_it(gateway: Running) -> None:
    assert (await gateway.get("/api/%74enants/acme/%61udit")).status == 200
    assert gateway.principal("audit").id == "id-of-jane"  # the token is for audit, not for tenant
    assert gateway.service.last.line == b"GET /api/%74enants/acme/%61udit HTTP/1.1"


async def test_nothing_of_a_pipelined_request_is_read_into_the_one_before(gateway: Running) -> None:
    client = await gateway.connect()
    first = request("POST", "/api/tenants", body=b'{"a":1}')
    second = request("GET", "/api/me")
    await client.send(first + second + first)
    for _ in range(3):
        assert (await client.answer()).status == 200
    assert [seen.line for seen in gateway.service.seen] == [
        b"POST /api/tenants HTTP/1.1",
        b"GET /api/me HTTP/1.1",
        b"POST /api/tenants HTTP/1.1",
    ]
    assert [seen.body for seen in gateway.service.seen] == [b'{"a":1}', b"", b'{"a":1}']


async def test_a_refused_pipelined_message_does_not_harm_the_answers_before_it(gateway: Running) -> None:
    client = await gateway.connect()
    await client.send(request("GET", "/api/me") * 2 + b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
    assert await client.ended() == b""


async def test_a_chunked_body_reaches_the_service_with_a_framing_of_our_own(gateway: Running) -> None:
    raw = request("POST", "/api/tenants", "Transfer-Encoding: cHuNkEd")
    found = await gateway.ask(raw + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-After-All: 1\r\n\r\n")
    assert found.status == 200
    seen = gateway.service.last
    assert seen.body == b"abcde"
    assert seen.field(b"content-length") == b"5"
    assert seen.field(b"transfer-encoding") is None
    assert b"after-all" not in seen.head.lower()


async def test_an_answer_with_two_framings_never_reaches_the_client(gateway: Running) -> None:

    poisoned = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 40\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\rcontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
    ]
    for raw in poisoned:
        gateway.service.script = answering(raw)
        found = await gateway.get("/api/me")
        assert found.status == 502, raw
        assert found.problem["code"] == "bad_gateway"


async def test_bytes_after_an_answer_do_not_become_the_answer_to_the_next_caller(gateway: Running) -> None:

    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    gateway.service.script = answering(OK + forged)
    first = await gateway.get("/api/me")
    assert (first.body, first.field(b"content-type")) == (b"{}", b"application/json")
    gateway.service.script = answering(OK)
    for _ in range(3):
        assert (await gateway.get("/api/me")).body == b"{}"
