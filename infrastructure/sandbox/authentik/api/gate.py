"""The door of the administration API: who may enter, and the shape of every refusal.

A missing or bad token is 403, never 401, and comes before everything else that may be wrong.
"""

import hmac
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.install import ADMINISTRATOR
from infrastructure.sandbox.authentik.journal import Origin
from infrastructure.sandbox.authentik.moments import moment
from infrastructure.sandbox.authentik.permissions import ACTIONS, Permissions, required
from infrastructure.sandbox.authentik.store import transaction

BASE = "/api/v3"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class ApiError(Exception):
    """A refusal: the status and the JSON body, either `{"detail"}` or a map from field to messages."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def detail(status: int, text: str) -> ApiError:
    return ApiError(status, {"detail": text})


def not_found(name: str) -> ApiError:
    """`name` as in `User`."""
    return detail(404, f"No {name} matches the given query.")


@dataclass(frozen=True, slots=True)
class Call:
    """An admitted request. `body` is an object for POST and PATCH, else empty."""

    actor: User | None
    path: Mapping[str, str]
    query: QueryParams
    body: dict[str, Any]
    origin: Origin


Handler = Callable[[Call], Response]


class Gate:
    """Admits whoever holds the API token of the seed, or the key of an unexpired token of intent `api`.

    The former is the first administrator's. Others may do what their roles say, see `permissions`.
    """

    def __init__(self, store: sqlite3.Connection, directory: Directory, api_token: str) -> None:
        self._store = store
        self._directory = directory
        self._api_token = api_token
        self._permissions = Permissions(store)

    def route(self, path: str, **handlers: Handler) -> Route:
        """A path below `/api/v3` and its handlers by method, in lower case. A write is one transaction."""

        async def endpoint(request: Request) -> Response:
            try:
                actor = self._admit(request.headers.get("authorization", ""))
                method = "get" if request.method == "HEAD" else request.method.lower()
                handler = handlers.get(method)
                if handler is None:
                    return _not_allowed(request.method, list(handlers))
                if actor is not None and not self._directory.is_superuser(actor):
                    self._authorise(actor, path, method, request.path_params)
                body = _object(request.headers.get("content-type", ""), await request.body())
                call = Call(actor, request.path_params, request.query_params, body, Origin.of(request))
                if method == "get":
                    return handler(call)
                with transaction(self._store):
                    return handler(call)
            except ApiError as error:
                return JSONResponse(error.body, error.status)

        return Route(BASE + path, endpoint, methods=METHODS)

    def _admit(self, authorization: str) -> User | None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise detail(403, "Authentication credentials were not provided.")
        if hmac.compare_digest(key.encode(), self._api_token.encode()):
            return self._directory.user_named(ADMINISTRATOR)
        row = self._store.execute(
            "SELECT user_pk FROM tokens JOIN users ON users.pk = user_pk WHERE key = ? AND intent = 'api'"
            " AND is_active AND (expires IS NULL OR expires > ?)",
            (key, moment()),
        ).fetchone()
        if row is None:
            raise detail(403, "Token invalid/expired")
        return self._directory.user_with_pk(row["user_pk"])

    def _authorise(self, actor: User, path: str, method: str, named: Mapping[str, str]) -> None:
        """Raises ApiError 403 unless the actor's roles allow the method on all such objects or on the one named."""
        object_pk = named.get("pk", "")
        if identifier := named.get("identifier"):
            token = self._store.execute("SELECT * FROM tokens WHERE identifier = ?", (identifier,)).fetchone()
            if token is None and path in ACTIONS:
                return  # an action looks for its object first
            object_pk = token["pk"] if token else ""
            if token and token["user_pk"] == actor.pk and path not in ACTIONS:
                return
        if not all(self._permissions.holds(actor.pk, needed, object_pk) for needed in required(path, method)):
            raise detail(403, "You do not have permission to perform this action.")


def _not_allowed(method: str, handlers: list[str]) -> Response:
    allowed = ", ".join(name.upper() for name in handlers)
    return JSONResponse({"detail": f'Method "{method}" not allowed.'}, 405, {"Allow": allowed})


def _object(content_type: str, body: bytes) -> dict[str, Any]:
    """Raises ApiError: 415 for anything but JSON, 400 for what is no JSON object."""
    if not body:
        return {}
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise detail(415, f'Unsupported media type "{content_type}" in request.')
    try:
        value = json.loads(body, parse_constant=_no_constant)
        # A lone surrogate is valid JSON, but neither storable nor sendable.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise detail(400, f"JSON parse error - {error}") from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ApiError(400, {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"Out of range float values are not JSON compliant: {name}")
