"""`/core/tokens/`: app passwords for people, and further tokens for this API.

Keys are kept in clear, as in the original: `view_key` shows them again. Only a superuser makes a token for somebody
else: whoever else asks for that gets one of their own, and is not told.
"""

import sqlite3
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, RowId, Slug, Text, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import Call, Gate, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.api.records import Records
from infrastructure.sandbox.authentik.api_tokens import ApiTokens, NewApiToken
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model
from infrastructure.sandbox.authentik.moments import moment, written

LIFETIME = timedelta(days=1)
# A token without a user would need one in every place that shows it.
WITH_USERNAME = "(SELECT tokens.*, username AS user__username FROM tokens JOIN users ON users.pk = user_pk)"
LISTING = Listing(
    WITH_USERNAME,
    searched=("identifier", "intent", "user__username", "description"),
    order=("identifier", "expires", "intent", "description", "expiring"),
    unique="identifier",
)


class NewToken(Body):
    """POST. Without a user the token is the caller's; it expires after a day unless `expiring` is false."""

    identifier: Slug
    intent: Literal["api", "app_password"] = "api"
    user: RowId | None = None
    description: Text = ""
    expires: AwareDatetime | None = None
    expiring: bool = True


class NewKey(Body):
    key: Required


class TokensResource:
    """The tokens resource, addressed by identifier."""

    def __init__(self, store: sqlite3.Connection, directory: Directory, journal: Journal) -> None:
        self._store = store
        self._directory = directory
        self._journal = journal
        self._records = Records(store, directory)
        self._tokens = ApiTokens(store)

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/core/tokens/", get=self._list, post=self._create),
            gate.route("/core/tokens/{identifier}/", get=self._read, delete=self._remove),
            gate.route("/core/tokens/{identifier}/view_key/", get=self._view_key),
            gate.route("/core/tokens/{identifier}/set_key/", post=self._set_key),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("identifier", "intent", "user__username", "description")
        selection.true_or_false("expiring", "expiring")
        return selection.page(self._store, LISTING, self._token)

    def _create(self, call: Call) -> Response:
        new = parse(NewToken, call.body)
        holder = self._directory.user_with_pk(new.user) if new.user is not None else call.actor
        if holder is None:
            raise no_such("user", new.user)
        if self._store.execute("SELECT 1 FROM tokens WHERE identifier = ?", (new.identifier,)).fetchone():
            raise wrong("identifier", TAKEN)
        actor = call.actor if call.actor is not None and not self._directory.is_superuser(call.actor) else None
        expires = _expiry(new.expires) if new.expiring else None
        holder_pk = actor.pk if actor else holder.pk
        added = NewApiToken(new.identifier, new.intent, holder_pk, expires, new.description)
        made = self._tokens.add(added, call.actor)
        if actor is not None:
            self._tokens.let_view_key(actor, made["pk"])
        row = self._row(new.identifier)
        self._record("model_created", call, row)
        return JSONResponse(self._token(row), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._token(self._row(call.path["identifier"])))

    def _remove(self, call: Call) -> Response:
        row = self._row(call.path["identifier"])
        self._store.execute("DELETE FROM tokens WHERE pk = ?", (row["pk"],))
        self._record("model_deleted", call, row)
        return Response(status_code=204)

    def _view_key(self, call: Call) -> Response:
        row = self._row(call.path["identifier"])
        secret = model("authentik_core", "token", row["pk"], row["identifier"])
        self._journal.record("secret_view", call.actor, call.origin, {"secret": secret}, "authentik.core.api.tokens")
        return JSONResponse({"key": row["key"]})

    def _set_key(self, call: Call) -> Response:
        row = self._row(call.path["identifier"])
        key = parse(NewKey, call.body).key
        self._store.execute("UPDATE tokens SET key = ? WHERE pk = ?", (key, row["pk"]))
        self._record("model_updated", call, row)
        return Response(status_code=204)

    def _row(self, identifier: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self._store.execute(
            "SELECT * FROM tokens WHERE identifier = ?", (identifier,)
        ).fetchone()
        if row is None:
            raise not_found("Token")
        return row

    def _token(self, row: sqlite3.Row) -> dict[str, object]:
        user = self._store.execute("SELECT * FROM users WHERE pk = ?", (row["user_pk"],)).fetchone()
        return {
            "pk": row["pk"],
            "managed": None,
            "identifier": row["identifier"],
            "intent": row["intent"],
            "user": row["user_pk"],
            "user_obj": self._records.user(user),
            "description": row["description"],
            "expires": row["expires"],
            "expiring": bool(row["expiring"]),
        }

    def _record(self, action: Action, call: Call, row: sqlite3.Row) -> None:
        about = {"model": model("authentik_core", "token", row["pk"], row["identifier"])}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def _expiry(asked: datetime | None) -> str:
    return written(asked) if asked else moment(LIFETIME)
