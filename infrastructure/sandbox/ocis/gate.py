"""Who calls, and the shape of every refusal (OData error objects)."""

import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.kit import transaction
from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.seed import Seed

Code = Literal[
    "accessDenied",
    "generalException",
    "invalidRequest",
    "itemNotFound",
    "nameAlreadyExists",
    "notAllowed",
    "notSupported",
    "unauthenticated",
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SignIn = Callable[[str], Awaitable[sqlite3.Row]]


class Refused(Exception):
    """`{"error": {"code", "message", "innererror": {"date", "request-id"}}}`."""

    def __init__(self, status: int, code: Code, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        inner = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "request-id": str(uuid4())}
        body = {"error": {"code": self.code, "innererror": inner, "message": self.message}}
        headers = {"WWW-Authenticate": 'Bearer realm="ownCloud", charset="UTF-8"'} if self.status == 401 else None
        return JSONResponse(body, self.status, headers)


def not_found(what: str) -> Refused:
    return Refused(404, "itemNotFound", f"{what} not found")


@dataclass(frozen=True, slots=True)
class Call:
    """An admitted request. `user` is the row of the caller; `is_admin` says whether it manages the instance."""

    user: sqlite3.Row
    is_admin: bool
    path: Mapping[str, str]
    query: QueryParams
    headers: Headers
    body: bytes

    def demand_admin(self) -> None:
        """Raises Refused 403."""
        if not self.is_admin:
            raise Refused(403, "accessDenied", "the user has not the required role")


Handler = Callable[[Call], Response]


class Gate:
    """Admits the seed's tokens as the administrator, and tokens of the identity provider as their user."""

    def __init__(self, store: sqlite3.Connection, directory: Directory, seed: Seed, sign_in: SignIn) -> None:
        self._store = store
        self._directory = directory
        self._tokens = [token.get_secret_value() for token in seed.tokens]
        self._sign_in = sign_in

    def route(self, path: str, **handlers: Handler) -> Route:
        """A path and its handlers by method, in lower case. A write is one transaction."""

        async def endpoint(request: Request) -> Response:
            try:
                handler = handlers.get(request.method.lower())
                user, is_admin = await self._admit(request.headers.get("authorization", ""))
                if handler is None:
                    return Response(status_code=405)
                body = await request.body()
                call = Call(user, is_admin, request.path_params, request.query_params, request.headers, body)
                if request.method == "GET":
                    return handler(call)
                with transaction(self._store):
                    return handler(call)
            except Refused as error:
                return error.response()

        return Route(path, endpoint, methods=METHODS)

    async def _admit(self, authorization: str) -> tuple[sqlite3.Row, bool]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, "unauthenticated", "no access token")
        if any(hmac.compare_digest(token.encode(), known.encode()) for known in self._tokens):
            return self._directory.administrator(), True
        return await self._sign_in(token), False
