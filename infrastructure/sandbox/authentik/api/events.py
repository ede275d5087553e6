"""`/events/events/`: read only, newest first.

There is no filter by time: a reader pages until it meets what it knows.
"""

import json
import sqlite3
from uuid import UUID

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.gate import Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection

LISTING = Listing(
    "events",
    searched=("user", "action", "app", "context", "client_ip", "pk"),
    order=("-created", "action", "app", "client_ip", "expires"),
    unique="sequence",
)
# Query parameters of the original and the places in `context` that they name.
CONTEXT = {
    "context_model_app": "$.model.app",
    "context_model_name": "$.model.model_name",
    "context_authorized_app": "$.authorized_application.pk",
}


class Events:
    """The events resource."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def routes(self, gate: Gate) -> list[Route]:
        return [gate.route("/events/events/", get=self._list), gate.route("/events/events/{pk}/", get=self._read)]

    def _list(self, call: Call) -> Response:
        query = call.query
        selection = Selection(query)
        selection.equal("client_ip")
        if query.get("action"):
            selection.where("instr(casefold(action), ?) > 0", query["action"].casefold())
        actions = query.getlist("actions")
        if actions:
            selection.where(f"action IN ({', '.join('?' * len(actions))})", *actions)
        if query.get("username"):
            selection.where("json_extract(user, '$.username') = ?", query["username"])
        for name, place in CONTEXT.items():
            if query.get(name):
                selection.where("json_extract(context, ?) = ?", place, query[name])
        if query.get("context_model_pk"):
            pk = query["context_model_pk"].replace("-", "")
            selection.where("CAST(json_extract(context, '$.model.pk') AS TEXT) = ?", pk)
        if query.get("brand_name"):
            selection.where("? = 'authentik-default'", query["brand_name"])
        return selection.page(self._store, LISTING, _event)

    def _read(self, call: Call) -> Response:
        try:
            pk = str(UUID(call.path["pk"]))
        except ValueError:
            raise detail(404, "Not found.") from None
        row = self._store.execute("SELECT * FROM events WHERE pk = ?", (pk,)).fetchone()
        if row is None:
            raise not_found("Event")
        return JSONResponse(_event(row))


def _event(row: sqlite3.Row) -> dict[str, object]:
    return {
        "pk": row["pk"],
        "user": json.loads(row["user"]),
        "action": row["action"],
        "app": row["app"],
        "context": json.loads(row["context"]),
        "client_ip": row["client_ip"],
        "created": row["created"],
        "expires": row["expires"],
        "brand": {"app": "authentik_brands", "model_name": "brand", "name": "authentik-default"},
    }
