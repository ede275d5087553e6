"""What every stand-in shares: injected faults, a record of requests, private files, a loopback server.

Control endpoints, next to the stand-in's own and never subject to a fault themselves:

    POST   /_sandbox/faults     {"effect": ..., ...}  201, the fault with its id
    GET    /_sandbox/faults     every fault with the number of times it struck
    DELETE /_sandbox/faults     removes all, and ends every delay in progress; 204
    GET    /_sandbox/requests   the last requests: {sequence, method, path, status, effect}, oldest first
"""

import asyncio
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Literal, TypeVar

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CONTROL_PREFIX = "/_sandbox/"
LOOPBACK = "127.0.0.1"
REQUESTS_REMEMBERED = 2000
ABORT_KEY = "sandbox.abort"
DRAIN_SECONDS = 3


Seed = TypeVar("Seed", bound=BaseModel)


class Wire(BaseModel):
    """A JSON object with camelCase members; an unknown member is an error, because it is a typing mistake."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Effect(StrEnum):
    """What a fault does to a request.

    delay       waits, then serves
    error       500, the work is not done
    throttle    429 with Retry-After, the work is not done
    drop        closes the connection, the work is not done
    lose_reply  does the work, then closes the connection in place of the reply, whatever that was
    """

    DELAY = "delay"
    ERROR = "error"
    THROTTLE = "throttle"
    DROP = "drop"
    LOSE_REPLY = "lose_reply"


class FaultRule(Wire):
    """Which requests a fault strikes, and how.

    Every effect waits `latency_ms` first. `count` limits how often it strikes (none: until removed). With a
    `probability` below 1 each matching request draws from a generator seeded with `seed`, so that a run
    can be repeated.
    """

    effect: Effect
    path_prefix: str = Field(default="/", pattern=r"^/")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] | None = None
    count: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0
    latency_ms: int = Field(default=0, ge=0, le=600_000)
    retry_after_seconds: int = Field(default=1, ge=0)


class Fault:
    """An installed rule, and how often it has struck."""

    def __init__(self, number: int, rule: FaultRule) -> None:
        self.number = number
        self.rule = rule
        self.struck = 0
        self.removed = asyncio.Event()
        self._random = Random(rule.seed)

    def strikes(self, method: str, path: str) -> bool:
        """True if this request is hit; counts the hit and advances the generator."""
        rule = self.rule
        matches = path.startswith(rule.path_prefix) and rule.method in (None, method)
        if not matches or (rule.count is not None and self.struck >= rule.count):
            return False
        if self._random.random() >= rule.probability:
            return False
        self.struck += 1
        return True

    def as_json(self) -> dict[str, object]:
        return {"id": self.number, **self.rule.model_dump(mode="json", by_alias=True), "struck": self.struck}


class Faults:
    """The faults of one stand-in. Of several that match, the first installed strikes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._installed = 0

    def add(self, rule: FaultRule) -> Fault:
        self._installed += 1
        fault = Fault(self._installed, rule)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        for fault in self._faults:
            fault.removed.set()
        self._faults = []

    def choose(self, method: str, path: str) -> Fault | None:
        return next((fault for fault in self._faults if fault.strikes(method, path)), None)

    def as_json(self) -> list[dict[str, object]]:
        return [fault.as_json() for fault in self._faults]


class RequestLog:
    """The last requests without query or body, since those may carry credentials."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, object]] = deque(maxlen=REQUESTS_REMEMBERED)
        self._sequence = 0

    def begin(self, method: str, path: str, effect: Effect | None) -> dict[str, object]:
        self._sequence += 1
        entry: dict[str, object] = {
            "sequence": self._sequence,
            "method": method,
            "path": path,
            "status": None,
            "effect": effect,
        }
        self._entries.append(entry)
        return entry

    def as_json(self) -> list[dict[str, object]]:
        return list(self._entries)


class FaultMiddleware:
    """ASGI middleware that records each request and lets the chosen fault strike it.

    Dropping a connection needs the transport, which ASGI does not offer: `serve` puts it in the scope.
    """

    def __init__(self, app: ASGIApp, faults: Faults, log: RequestLog) -> None:
        self._app = app
        self._faults = faults
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who hangs up in the middle of a request is no accident: tests kill them.
        with suppress(ClientDisconnect):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
            await self._app(scope, receive, send)
            return
        fault = self._faults.choose(scope["method"], scope["path"])
        entry = self._log.begin(scope["method"], scope["path"], fault.rule.effect if fault else None)

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            await send(message)

        if fault is None:
            await self._app(scope, receive, observed)
            return
        await self._strike(fault, scope, receive, observed)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        rule = fault.rule
        await _wait(fault, rule.latency_ms / 1000)
        match rule.effect:
            case Effect.DELAY:
                await self._app(scope, receive, send)
            case Effect.ERROR:
                await JSONResponse({"detail": "Injected failure."}, 500)(scope, receive, send)
            case Effect.THROTTLE:
                headers = {"Retry-After": str(rule.retry_after_seconds)}
                body = {"detail": "Injected throttling."}
                await JSONResponse(body, 429, headers)(scope, receive, send)
            case Effect.DROP:
                await _abort(scope, receive)
            case Effect.LOSE_REPLY:
                await self._app(scope, receive, _discard)
                await _abort(scope, receive)


async def _wait(fault: Fault, seconds: float) -> None:
    if seconds > 0:
        try:
            await asyncio.wait_for(fault.removed.wait(), seconds)
        except TimeoutError:
            return


async def _discard(_message: Message) -> None:
    return


async def _abort(scope: Scope, receive: Receive) -> None:
    abort: Callable[[], None] = scope[ABORT_KEY]
    abort()
    # Returning before the server has noticed would make it answer 500 on the closing connection.
    while (await receive())["type"] != "http.disconnect":
        continue


def control_routes(faults: Faults, log: RequestLog) -> list[Route]:
    """The `/_sandbox/` endpoints of the module's description."""

    async def add(request: Request) -> Response:
        # A web page could make a browser post a form here, but not JSON: nothing grants the preflight.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"detail": "application/json is required"}, 415)
        try:
            rule = FaultRule.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse(
                {"errors": error.errors(include_url=False, include_context=False, include_input=False)}, 422
            )
        return JSONResponse(faults.add(rule).as_json(), 201)

    async def clear(_request: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def show(_request: Request) -> Response:
        return JSONResponse(faults.as_json())

    async def requests(_request: Request) -> Response:
        return JSONResponse(log.as_json())

    path = CONTROL_PREFIX + "faults"
    return [
        Route(path, add, methods=["POST"]),
        Route(path, clear, methods=["DELETE"]),
        Route(path, show, methods=["GET"]),
        Route(CONTROL_PREFIX + "requests", requests, methods=["GET"]),
    ]


class AbortableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the means to abort the connection in each request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope[ABORT_KEY] = transport.abort
            await inner(scope, receive, send)

        self.app = with_abort


def serve(app: ASGIApp, port: int) -> None:
    """Serves on 127.0.0.1 until SIGTERM or SIGINT; requests in flight then have three seconds."""
    uvicorn.run(
        app,
        host=LOOPBACK,
        port=port,
        http=AbortableProtocol,
        # An X-Forwarded-For from a test must not change who the caller is.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def private_directory(path: Path) -> Path:
    """Creates the directory if need be, and closes it to everybody but its owner."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; made first (mode 0600) if there is no file.

    Whole or not at all, also across `kill -9`: it is written beside and renamed.
    """
    if path.exists():
        return path.read_bytes()
    content = make()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return content


def read_seed(kind: type[Seed], path: Path) -> Seed:
    """Reads a seed file; exits with one line per problem, none of which repeats a value."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SystemExit(f"seed file {path}: {error.strerror}") from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()]
        raise SystemExit("\n".join(f"seed file {path}: {line}" for line in lines)) from None


def open_private_store(path: Path, schema: str) -> sqlite3.Connection:
    """Opens the SQLite file (mode 0600), creating what is missing. A committed write survives `kill -9`.

    The connection belongs to the thread that opened it: a stand-in answers on one event loop.
    """
    # SQLite gives its journal files the mode of the main file, so the main file must be private first.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    store = sqlite3.connect(path, isolation_level=None)
    store.row_factory = sqlite3.Row
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = FULL")
    store.execute("PRAGMA foreign_keys = ON")
    store.executescript(schema)
    return store


@contextmanager
def transaction(store: sqlite3.Connection) -> Iterator[None]:
    """All of the body's writes, or none. Not to be nested, and no `await` belongs inside."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")
