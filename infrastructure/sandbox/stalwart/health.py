"""/healthz: a problem document even when all is well, and counted against the anonymous limit, as in the original."""

import sqlite3

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.stalwart.callers import Callers
from infrastructure.sandbox.stalwart.errors import RequestError


def health_routes(store: sqlite3.Connection, callers: Callers) -> list[Route]:
    """`live` is 200 while the process answers; `ready` is 503 while the store does not."""

    async def live(request: Request) -> Response:
        return _answer(callers, request, 200)

    async def ready(request: Request) -> Response:
        try:
            store.execute("SELECT count(*) FROM installed")
        except sqlite3.Error:
            return _answer(callers, request, 503)
        return _answer(callers, request, 200)

    return [Route("/healthz/live", live), Route("/healthz/ready", ready)]


def _answer(callers: Callers, request: Request, status: int) -> Response:
    try:
        callers.admit_anonymous(request)
    except RequestError as error:
        return error.response()
    title = "OK" if status == 200 else "Service Unavailable"
    body = {"type": "about:blank", "status": status, "title": title, "detail": title}
    return JSONResponse(body, status, media_type="application/problem+json")
