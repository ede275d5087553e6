"""The application factory: what every service does alike, so that its ``main`` is wiring and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import orjson
import structlog
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from shared import backlog, context, logs, tracing
from shared.actors import actor_of
from shared.auth import InternalTokenIssuer, InternalTokenVerifier, Person
from shared.bodies import unreadable
from shared.bus import Bus
from shared.clock import Clock, SystemClock
from shared.contracts.access import BY_SERVICE
from shared.contracts.envelope import Resource
from shared.edge import Edge
from shared.errors import (
    PROBLEM_TYPE,
    DomainError,
    FieldError,
    Forbidden,
    MalformedRequest,
    Unavailable,
    problem,
    render,
)
from shared.forgetting import hearing_erasures
from shared.idempotency import INDEXES as IDEMPOTENCY_INDEXES
from shared.idempotency import Answer, IdempotencyClaim, Replay
from shared.ids import new_id
from shared.inbox import INDEXES as INBOX_INDEXES
from shared.inbox import Handler
from shared.leases import TTL as LEASE_TTL
from shared.leases import Lease
from shared.measuring import Measure, Measuring
from shared.metrics import exposition
from shared.mongo import DATABASE_UNAVAILABLE, Index, Mongo, is_unavailable
from shared.openapi import Operations, documented, name_of
from shared.outbox import INDEXES as OUTBOX_INDEXES
from shared.outbox import Outbox, OutboxRelay
from shared.policy import from_services, principal_of
from shared.projections.keeper import Keeper
from shared.projections.routes import router_of
from shared.settings import ServiceSettings, decode_key
from shared.tasks import end_tasks
from shared.topology import Topology
from shared.workers import Task, keep_running, prepare

log = structlog.get_logger()

COMMON_INDEXES: Mapping[str, Sequence[Index]] = {**OUTBOX_INDEXES, **INBOX_INDEXES, **IDEMPOTENCY_INDEXES}
READY_SECONDS = 1.0
GRACE_SECONDS = 10
STOP_SECONDS = 5


@dataclass(frozen=True)
class Platform:
    """What a service stands on: its database, its bus, its outbox, its keys, its clock."""

    name: str
    settings: ServiceSettings
    mongo: Mongo
    bus: Bus
    outbox: Outbox
    issuer: InternalTokenIssuer
    verifier: InternalTokenVerifier
    clock: Clock
    holder: str = field(default_factory=new_id)

    @classmethod
    def build(cls, name: str, settings: ServiceSettings, clock: Clock | None = None) -> Platform:
        """Wire it from settings; connects to nothing yet."""
        clock = clock or SystemClock()
        mongo = Mongo(settings.mongo_uri.get_secret_value(), settings.mongo_database, f"dezky-{name}")
        bus = Bus(settings.nats_url.get_secret_value(), name, Topology(settings.nats_prefix))
        seed = decode_key(settings.internal_signing_key.get_secret_value())
        return cls(
            name=name,
            settings=settings,
            mongo=mongo,
            bus=bus,
            outbox=Outbox(mongo, name, clock),
            issuer=InternalTokenIssuer(name, settings.internal_signing_kid, seed, clock),
            verifier=InternalTokenVerifier(name, settings.internal_public_keys, clock),
            clock=clock,
        )

    def relay(self) -> OutboxRelay:
        """Return the relay of this service's outbox, under its lease."""
        return OutboxRelay(self.mongo, self.bus, self.name, self.clock, self.lease("outbox-relay"))

    def measuring(self, more: Sequence[Measure] = ()) -> Measuring:
        """Return what measures this service's outbox and consumers, and ``more``."""
        return Measuring(self.name, [*backlog.measures(self.name, self.outbox, self.bus), *more])

    def lease(self, name: str, ttl: timedelta = LEASE_TTL) -> Lease:
        """Return a lease of this replica."""
        return Lease(self.mongo.db, name, self.holder, ttl)


def create_app(  # noqa: PLR0913 - an application has that many parts; the optional ones are named
    platform: Platform,
    deps: Any,
    routers: Sequence[APIRouter],
    *,
    indexes: Mapping[str, Sequence[Index]],
    tasks: Sequence[Task] = (),
    closing: Sequence[Task] = (),
    public: tuple[str, ...] = (),
    keeper: Keeper | None = None,
    operations: Operations | None = None,
    forgetting: Handler | None = None,
    measures: Sequence[Measure] = (),
) -> FastAPI:
    """Return the service as an ASGI application.

    ``deps`` is the composition root's frozen dataclass, found by routes at ``request.app.state.deps``. ``tasks`` are
    endless workers; one that fails is logged and started again. The relay of the outbox is always one of them, and the
    forgetting of erased people wherever ``shared.topology`` has a consumer for it. ``closing`` is called once at the
    end: clients of other systems. ``keeper`` keeps the service's projections, ``operations`` describe the routes,
    ``forgetting`` handles ``user.erased.v1`` for what only this service keeps of people, and ``measures`` are taken
    beside those of the outbox and of consumers.
    """
    prepared = asyncio.Event()
    first: list[Task] = [lambda: platform.mongo.ensure_indexes({**COMMON_INDEXES, **indexes})]
    if keeper is not None:
        first.append(keeper.prepare)
        tasks, closing = (*tasks, keeper.run), (*closing, keeper.close)
    bus, mongo = platform.bus, platform.mongo
    hearing = hearing_erasures(bus, mongo, platform.outbox, platform.clock, platform.name, also=forgetting)
    own = (*hearing, platform.relay().run, platform.measuring(measures).run)
    lifespan = _lifespan(platform, first, (*tasks, *own), closing, prepared)
    app = _described(platform, routers, operations or {}, lifespan)
    app.state.deps, app.state.platform, app.state.keeper = deps, platform, keeper
    app.include_router(_operations(platform, prepared))
    for router in [*routers, *([] if keeper is None else [router_of(keeper)])]:
        app.include_router(router)
    _render_errors(app, platform)
    app.add_middleware(Edge, service=platform.name, verifier=platform.verifier, public=public)
    return app


def _described(
    platform: Platform,
    routers: Sequence[APIRouter],
    operations: Operations,
    lifespan: Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return an application without routes yet, which describes those of ``routers`` and has no pages of its own."""
    app = FastAPI(
        title=f"Dezky {platform.name}",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # FastAPI's own would begin before anybody is authenticated, and would export the texts of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        generate_unique_id_function=name_of,
    )
    app.state.operations = operations
    app.openapi = documented(app, routers)  # type: ignore[method-assign]
    return app


def _lifespan(
    platform: Platform,
    first: Sequence[Task],
    tasks: Sequence[Task],
    closing: Sequence[Task],
    prepared: asyncio.Event,
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        platform.bus.start()
        workers = [asyncio.create_task(prepare(platform.mongo, first, prepared))]
        workers += [asyncio.create_task(keep_running(task, prepared, platform.name, platform.mongo)) for task in tasks]
        yield
        await end_tasks(workers, STOP_SECONDS)
        for close in (*closing, platform.bus.close, platform.mongo.close, tracing.stop):
            await close()

    return lifespan


def _operations(platform: Platform, prepared: asyncio.Event) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> Response:
        checks = {"mongo": "ok", "nats": "ok" if platform.bus.connected else "away"}
        try:
            await platform.mongo.ping(READY_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is «not ready»
            checks["mongo"] = f"away: {type(error).__name__}"
        if not prepared.is_set():
            checks["indexes"] = "pending"
        ready = checks["mongo"] == "ok" and prepared.is_set()
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        return Response(orjson.dumps(body), 200 if ready else 503, media_type="application/json")

    @router.get("/metrics")
    async def metrics() -> Response:
        body, content_type = exposition()
        return Response(body, headers={"content-type": content_type})

    @router.get("/internal/openapi.json", dependencies=[Depends(from_services("gateway"))])
    async def openapi(request: Request) -> dict[str, Any]:
        document: dict[str, Any] = request.app.openapi()
        return document

    return router


def _render_errors(app: FastAPI, platform: Platform) -> None:
    @app.exception_handler(DomainError)
    async def domain(request: Request, error: DomainError) -> Response:
        if isinstance(error, Forbidden):
            await _record_denial(platform, request, error)
        return _response(request, error)

    @app.exception_handler(Replay)
    async def replay(_: Request, replayed: Replay) -> Response:
        answer = replayed.answer
        return Response(answer.body, answer.status, {**answer.headers, "idempotency-replayed": "true"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _invalid(request, error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        codes = {404: "route_not_found", 405: "method_not_allowed", 400: "malformed_request"}
        code = codes.get(error.status_code, "refused")
        body = problem(error.status_code, code, error.detail, request_id=_request_id())
        return Response(body, error.status_code, dict(error.headers or {}), PROBLEM_TYPE)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        if is_unavailable(error):
            return _response(request, Unavailable("the database is away", retry_after=2))
        raise error

    for kind in DATABASE_UNAVAILABLE:
        app.exception_handler(kind)(unexpected)


async def _record_denial(platform: Platform, request: Request, error: Forbidden) -> None:
    """Audit a refusal in a transaction of its own: the refused one has been rolled back."""
    principal = request.scope.get("dezky.principal")
    if not isinstance(principal, Person):
        return
    pattern = getattr(request.scope.get("route"), "path", request.url.path)
    slug = request.path_params.get("slug")
    denied = BY_SERVICE[platform.name](
        actor=actor_of(principal),
        outcome="denied",
        resource=Resource(
            type="operation",
            id=pattern,
            name=slug,
            tenant_slug=slug if "/tenants/{slug}" in pattern else None,
            partner_slug=slug if "/partners/{slug}" in pattern else None,
        ),
        operation=f"{request.method} {pattern}",
        code=error.code,
    )
    await platform.mongo.transactions.run(lambda tx: platform.outbox.add(tx, denied))


def _request_id() -> str:
    return context.current().request_id


def _response(_: Request, error: DomainError) -> Response:
    status, headers, body = render(error, _request_id())
    return Response(body, status, headers)


def _complaint(problem: Mapping[str, Any]) -> str:
    """Return what is wrong without what was sent: it may be a secret, or a million characters."""
    if problem["type"] == "union_tag_invalid":
        return f"Input should be one of {problem['ctx']['expected_tags']}"
    message: str = problem["msg"]
    return message


def _invalid(request: Request, error: RequestValidationError) -> Response:
    if (reason := unreadable(request)) is not None:
        return _response(request, MalformedRequest(f"the body cannot be read: {reason}"))
    problems = error.errors()
    fields = [
        FieldError(".".join(str(part) for part in p["loc"][1:]) or str(p["loc"][0]), p["type"], _complaint(p))
        for p in problems[:20]
    ]
    body = problem(
        422,
        "invalid",
        "The request is not valid",
        detail="; ".join(f"{f.field}: {f.message}" for f in fields[:3]),
        request_id=_request_id(),
        errors=fields,
    )
    return Response(body, 422, media_type=PROBLEM_TYPE)


async def idempotency_claim(
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255, min_length=1)] = None,
) -> IdempotencyClaim:
    """Return the claim of this request; a request without a key claims nothing."""
    platform: Platform = request.app.state.platform
    if idempotency_key is None:
        return IdempotencyClaim(platform.mongo, platform.clock, None, "")
    route = f"{request.method} {request.url.path}"
    claim_id = IdempotencyClaim.id_of(principal_of(request).identity, route, idempotency_key)
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    return IdempotencyClaim(platform.mongo, platform.clock, claim_id, body_hash)


Claimed = Annotated[IdempotencyClaim, Depends(idempotency_claim)]


def answer(
    view: BaseModel | Mapping[str, Any], status: int = 200, *, version: int | None = None, location: str = ""
) -> Answer:
    """Return a view, or its JSON members, as an answer with its ``ETag`` (and ``Location``)."""
    headers = {"content-type": "application/json"}
    if version is not None:
        headers["etag"] = f'"{version}"'
    if location:
        headers["location"] = location
    body = view.model_dump_json(by_alias=True).encode() if isinstance(view, BaseModel) else orjson.dumps(view)
    return Answer(status, headers, body)


def send(reply: Answer) -> Response:
    """Return an answer as a response."""
    return Response(reply.body, reply.status, reply.headers)


def serve(app: FastAPI, settings: ServiceSettings, name: str) -> None:
    """Run until SIGTERM: then accept nothing new, finish what runs (10 s), stop the workers, leave."""
    logs.configure(name, settings.log_level)
    tracing.start(name, settings.environment, settings.otlp_endpoint)
    gc.collect()
    gc.freeze()  # or each full collection walks modules, models and routes, and holds every request up for 60 ms
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # the client's address comes from the gateway, beside its token
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,
        ws="none",
    )
