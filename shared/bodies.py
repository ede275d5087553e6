"""Reading request bodies: after the caller has been let in, and with one meaning for every byte string.

FastAPI parses a body before it resolves a route's dependencies, so that whoever sends broken JSON would be told so
before being told that the operation is not theirs. Here a body that cannot be read becomes a value that no schema
accepts: the dependencies, authorisation among them, speak first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from shared.strict_json import StrictError, parse_object


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a body that could not be read; ``reason`` never quotes it."""

    reason: str


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Return the object in the body, or ``Unreadable`` where lenient readers would disagree about it."""
        try:
            return parse_object(await self.body())
        except StrictError as error:
            return Unreadable(str(error))


class StrictRoute(APIRoute):
    """A route that reads JSON strictly, and late: ``APIRouter(route_class=StrictRoute)``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, given a request that reads its body in this way."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict
