"""The event log: what happened, to whom, from where.

Events are kept a year, as in the original, and never changed.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import uuid4

from starlette.requests import Request

from infrastructure.sandbox.authentik.directory import User
from infrastructure.sandbox.authentik.moments import moment

RETENTION = timedelta(days=365)
ANONYMOUS = {"pk": 0, "email": "", "username": "AnonymousUser", "is_anonymous": True}
SIGNALS = "authentik.events.signals"
MODELS = "authentik.events.middleware"

Action = Literal[
    "login",
    "login_failed",
    "logout",
    "authorize_application",
    "user_write",
    "password_set",
    "secret_view",
    "suspicious_request",
    "model_created",
    "model_updated",
    "model_deleted",
]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. Its query is left out: codes and one-time links travel there."""

    client_ip: str | None
    method: str
    path: str
    user_agent: str

    @classmethod
    def of(cls, request: Request) -> "Origin":
        address = request.client.host if request.client else None
        return cls(address, request.method, request.url.path, request.headers.get("user-agent", ""))


class Journal:
    """Writes events; each belongs to the transaction of the change that it tells of."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def record(
        self,
        action: Action,
        user: User | None,
        origin: Origin,
        context: Mapping[str, object] | None = None,
        app: str = SIGNALS,
    ) -> None:
        """None as user is the anonymous one."""
        who = {"pk": user.pk, "email": user.email, "username": user.username} if user else ANONYMOUS
        request = {"path": origin.path, "method": origin.method, "user_agent": origin.user_agent}
        about = {**(context or {}), "http_request": request}
        self._store.execute(
            "INSERT INTO events (pk, user, action, app, context, client_ip, created, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                str(uuid4()),
                json.dumps(who),
                action,
                app,
                json.dumps(about),
                origin.client_ip,
                moment(),
                moment(RETENTION),
            ),
        )


def model(app: str, name: str, pk: object, title: str) -> dict[str, object]:
    """The object of an event. A UUID is written without dashes, as the original does."""
    return {
        "app": app,
        "model_name": name,
        "pk": pk if isinstance(pk, int) else str(pk).replace("-", ""),
        "name": title,
    }
