"""A gateway on a real socket between raw clients and scripted services, for tests of the data plane."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import uvicorn

from gateway.authenticator import VerifiedToken
from gateway.directory import Directory
from gateway.edge import Limits
from gateway.identity import Credentials
from gateway.main import Deps, create_app, listener
from gateway.providers import Provider, Providers
from gateway.routes import ROUTES, Route, RouteTable
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from gateway.token_errors import BadSignature
from gateway.upstream import Origin, PoolLimits, Upstream
from shared.auth import InternalTokenIssuer, InternalTokenVerifier
from shared.clock import SystemClock
from shared.testing import public_keys, seed_of, seed_text
from tests.support.servers import PromptServer, free_port

SERVICES = ("tenant", "partner", "billing", "flags", "audit", "health")


def provider(surface: str) -> Provider:
    """Return the provider of a surface, as the demo fleet has it."""
    return Provider.model_validate(
        {
            "issuer": f"http://127.0.0.1:9/application/o/dezky-{surface}/",
            "audiences": [f"dezky-{surface}"],
            "algorithms": ["RS256"],
            "surface": surface,
            "identityProvider": "authentik",
        }
    )


def verified(surface: str = "portal", subject: str = "jane", groups: tuple[str, ...] = ()) -> VerifiedToken:
    """Return what an issuer says of ``subject``."""
    return VerifiedToken(
        provider=provider(surface),
        subject=subject,
        email=f"{subject}@nordic.example",
        name=subject.title(),
        groups=groups,
        issued_at=0.0,
        expires_at=4e9,
        claims={},
    )


class Tokens:
    """Believes what it was told to believe."""

    def __init__(self) -> None:
        self.known: dict[bytes, VerifiedToken] = {
            b"portal-token": verified("portal"),
            b"operator-token": verified("operator", "olga", ("dezky-platform-admins",)),
        }
        self.fault: Exception | None = None

    async def authenticate(self, token: bytes) -> VerifiedToken:
        if self.fault is not None:
            raise self.fault
        if token not in self.known:
            raise BadSignature
        return self.known[token]


class People:
    """A directory that answers at once, unless it is told to be away or to wait."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.changes: dict[str, Any] = {}

    async def look_up(self, token: VerifiedToken) -> dict[str, Any]:
        self.asked += 1
        answer = {
            "id": f"id-of-{token.subject}",
            "subject": token.subject,
            "email": token.email,
            "name": token.name,
            "partner": None,
            "tenants": {},
            "version": 1,
            "active": True,
            **self.changes,
        }
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return answer


@dataclass
class Seen:
    """A request as a service saw it on the wire."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        return [(n.lower(), v.strip()) for n, _, v in (line.partition(b":") for line in lines) if n]

    def field(self, name: bytes) -> bytes | None:
        values = [value for n, value in self.fields if n == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None


Script = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def answer_ok(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def answering(raw: bytes) -> Script:
    """Return a script that answers each request with these bytes."""

    async def script(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return script


class Service:
    """A service behind the gateway that reads raw requests and answers by script."""

    def __init__(self) -> None:
        self.script: Script = answer_ok
        self.reads_body = True
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        self._serving.add(cast("asyncio.Task[Any]", asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._converse(reader, writer)
        self.open -= 1
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
            seen = Seen(head, b"")
            if self.reads_body:
                seen.body = await _read_body(seen, reader)
            self.seen.append(seen)
            await self.script(seen, reader, writer)
            await writer.drain()


async def _read_body(seen: Seen, reader: asyncio.StreamReader) -> bytes:
    if (length := seen.field(b"content-length")) is not None:
        return await reader.readexactly(int(length))
    if seen.field(b"transfer-encoding") is None:
        return b""
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


@dataclass
class Answer:
    """An answer as a client read it."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    raw: bytes

    def field(self, name: bytes) -> bytes | None:
        values = [value for n, value in self.fields if n == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    @property
    def problem(self) -> dict[str, Any]:
        assert self.field(b"content-type") == b"application/problem+json", self.raw
        document: dict[str, Any] = orjson.loads(self.body)
        assert document["status"] == self.status
        assert document["type"] == f"urn:dezky:problem:{document['code']}"
        return document


class Client:
    """A raw client: sends the bytes it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> Answer:
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = raw[:-4].split(b"\r\n")
        fields = [(n.lower(), v.strip()) for n, _, v in (item.partition(b":") for item in lines)]
        return Answer(int(line.split(b" ")[1]), fields, b"", raw)

    async def answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer by its own framing."""
        found = await self.read_head()
        if head_only or found.status in {204, 304} or found.status < 200:
            return found
        async with asyncio.timeout(10):
            if (length := found.field(b"content-length")) is not None:
                found.body = await self.reader.readexactly(int(length))
            elif found.field(b"transfer-encoding") is not None:
                while piece := await self.chunk():
                    found.body += piece
            else:
                found.body = await self.reader.read()
        return found

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; b"" is the last."""
        async with asyncio.timeout(10):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bytes:
        """Read to the end of the connection."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Running:
    """A gateway, its fakes, and the one scripted service that stands for all of them."""

    port: int
    service: Service
    tokens: Tokens
    people: People
    directory: Directory
    upstreams: dict[str, Upstream]
    server: Any
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20))
        self.clients.append(client)
        return client

    async def ask(self, raw: bytes, *, head_only: bool = False) -> Answer:
        """Send one message on a connection of its own and read one answer."""
        client = await self.connect()
        await client.send(raw)
        found = await client.answer(head_only=head_only)
        await client.close()
        return found

    async def get(self, path: str, *lines: str, method: str = "GET", token: str = "portal-token") -> Answer:
        return await self.ask(request(method, path, *lines, token=token), head_only=method == "HEAD")

    def principal(self, service: str) -> Any:
        """Return the principal in the token that the service saw last, verified as the service would."""
        line = self.service.last.field(b"authorization")
        assert line is not None
        verifier = InternalTokenVerifier(service, public_keys(), SystemClock())
        return verifier.verify(line.decode().removeprefix("Bearer "))


def request(method: str, path: str, *lines: str, body: bytes | None = None, token: str = "portal-token") -> bytes:
    """Return a request's bytes; ``token`` empty for none."""
    head = [f"{method} {path} HTTP/1.1", "Host: api.dezky.example"]
    if token:
        head.append(f"Authorization: Bearer {token}")
    head += lines
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + (body or b"")


@contextlib.asynccontextmanager
async def running(
    *,
    limits: Limits | None = None,
    pool: PoolLimits | None = None,
    sweep: float = 0.02,
    dead: tuple[str, ...] = (),
    routes: Sequence[Route] = ROUTES,
    kind: Callable[[uvicorn.Config], uvicorn.Server] = PromptServer,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a gateway. Services in ``dead`` have an address where nobody listens; ``kind`` matters to how it stops."""
    service = Service()
    await service.start()
    sweeper = Sweeper(sweep)
    clock = SystemClock()
    credentials = Credentials(InternalTokenIssuer("gateway", "gateway-1", seed_of("gateway"), clock), clock)
    tokens, people = Tokens(), People()
    nobody = free_port()
    upstreams = {
        name: Upstream(name, Origin("127.0.0.1", nobody if name in dead else service.port), sweeper, pool)
        for name in SERVICES
    }
    directory = Directory(people, now=time.monotonic, live=lambda: False)
    deps = Deps(
        authenticator=tokens,
        directory=directory,
        credentials=credentials,
        upstreams=upstreams,
        providers=Providers([provider("operator"), provider("portal")]),
        sweeper=sweeper,
        clock=clock,
        routes=RouteTable(routes),
    )
    configured = GatewaySettings(
        port=free_port(),
        providers=[provider("operator").model_dump(by_alias=True), provider("portal").model_dump(by_alias=True)],
        upstreams={name: upstream.origin.url for name, upstream in upstreams.items()},
        internal_signing_key=seed_text("gateway"),
        internal_signing_kid="gateway-1",
        **settings,
    )
    server = kind(listener(configured, create_app(configured, deps), sweeper, limits).config)
    sweeper.start()
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.005)
    gateway = Running(configured.port, service, tokens, people, directory, upstreams, server)
    try:
        yield gateway
    finally:
        for client in gateway.clients:
            await client.close()
        server.should_exit = True
        await task
        await directory.close()
        for upstream in upstreams.values():
            upstream.close()
        sweeper.stop()
        await service.stop()
