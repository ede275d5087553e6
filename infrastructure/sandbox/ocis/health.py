"""/status.php, which the outside may ask, and the debug port's /healthz and /readyz, here on the same port."""

import sqlite3

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

STATUS = {
    "installed": True,
    "maintenance": False,
    "needsDbUpgrade": False,
    "version": "10.11.0.0",
    "versionstring": "10.11.0",
    "edition": "Community",
    "productname": "Infinite Scale",
    "product": "Infinite Scale",
    "productversion": "8.0.5",
}


def health_routes(store: sqlite3.Connection) -> list[Route]:
    """`healthz` is 200 while the process answers; `readyz` is 503 while the store does not."""

    async def status(_request: Request) -> Response:
        return JSONResponse(STATUS)

    async def live(_request: Request) -> Response:
        return PlainTextResponse("OK")

    async def ready(_request: Request) -> Response:
        try:
            store.execute("SELECT count(*) FROM drives")
        except sqlite3.Error:
            return PlainTextResponse("Service Unavailable", 503)
        return PlainTextResponse("OK")

    return [Route("/status.php", status), Route("/healthz", live), Route("/readyz", ready)]
