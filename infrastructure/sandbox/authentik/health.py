"""Liveness and readiness, where the original's proxies ask for them."""

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def health_routes(store: sqlite3.Connection) -> list[Route]:
    """`live` is 200 while the process answers; `ready` is 503 while the store does not."""

    async def live(_request: Request) -> Response:
        return Response(status_code=200)

    async def ready(_request: Request) -> Response:
        try:
            store.execute("SELECT count(*) FROM applications")
        except sqlite3.Error:
            return Response(status_code=503)
        return Response(status_code=200)

    return [Route("/-/health/live/", live), Route("/-/health/ready/", ready)]
