"""Reading request bodies: after the caller has been let in, and with one meaning for every byte string.

FastAPI parses a body before it resolves a route's dependencies, so that whoever sends broken JSON would be told so
before being told that the operation is not theirs. Here a body that cannot be read is passed on as the bytes that it
is, which no schema accepts: the dependencies, authorisation among them, speak first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from shared.strict_json import StrictError, parse

_UNREADABLE = "dezky.unreadable_body"


def unreadable(request: Request) -> str | None:
    """Return why the body of a request could not be read, or None; the reason never quotes it."""
    reason: str | None = request.scope.get(_UNREADABLE)
    return reason


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Return the value in the body, or the bytes where lenient readers would disagree about them."""
        body = await self.body()
        try:
            return parse(body)
        except StrictError as error:
            self.scope[_UNREADABLE] = str(error)
            # Of a type of Python's own: FastAPI lets pydantic read the attributes of any other object as members.
            return body


class StrictRoute(APIRoute):
    """A route that reads JSON strictly, and late: ``APIRouter(route_class=StrictRoute)``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, given a request that reads its body in this way."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict
