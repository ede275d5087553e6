"""`/propertymappings/provider/scope/`: what a scope opens.

Expressions are kept and shown; what the shipped ones say is what tokens hold.
"""

import sqlite3
from uuid import UUID, uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, Text, parse, wrong
from infrastructure.sandbox.authentik.api.gate import Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

LISTING = Listing("scope_mappings", searched=("name", "description"), order=("name", "scope_name", "pk"), unique="pk")
COLUMNS = ("name", "scope_name", "expression", "description")


class MappingChange(Body):
    name: Required = ""
    scope_name: Required = ""
    expression: Required = ""
    description: Text = ""


class NewMapping(MappingChange):
    name: Required
    scope_name: Required
    expression: Required


class ScopeMappings:
    """The scope mappings resource, addressed by UUID."""

    def __init__(self, store: sqlite3.Connection, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def routes(self, gate: Gate) -> list[Route]:
        path = "/propertymappings/provider/scope/"
        return [
            gate.route(path, get=self._list, post=self._create),
            gate.route(path + "{pk}/", get=self._read, patch=self._change),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name", "scope_name")
        managed = call.query.getlist("managed")
        if managed:
            selection.where(f"managed IN ({', '.join('?' * len(managed))})", *managed)
        selection.true_or_false("managed__isnull", "managed IS NULL")
        return selection.page(self._store, LISTING, _shown)

    def _create(self, call: Call) -> Response:
        new = parse(NewMapping, call.body)
        self._require_free(new.name, "")
        pk = str(uuid4())
        row = (pk, None, new.name, new.scope_name, new.description, new.expression)
        self._store.execute("INSERT INTO scope_mappings VALUES (?, ?, ?, ?, ?, ?)", row)
        self._record("model_created", call, pk, new.name)
        return JSONResponse(_shown(self._row(pk)), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(_shown(self._row(call.path["pk"])))

    def _change(self, call: Call) -> Response:
        row = self._row(call.path["pk"])
        change = parse(MappingChange, call.body)
        if "name" in change.model_fields_set:
            self._require_free(change.name, row["pk"])
        for name in COLUMNS:
            if name in change.model_fields_set:
                values = (getattr(change, name), row["pk"])
                self._store.execute(f"UPDATE scope_mappings SET {name} = ? WHERE pk = ?", values)
        self._record("model_updated", call, row["pk"], row["name"])
        return JSONResponse(_shown(self._row(row["pk"])))

    def _require_free(self, name: str, own_pk: str) -> None:
        if self._store.execute("SELECT 1 FROM scope_mappings WHERE name = ? AND pk <> ?", (name, own_pk)).fetchone():
            raise wrong("name", TAKEN)

    def _row(self, text: str) -> sqlite3.Row:
        try:
            pk = str(UUID(text))
        except ValueError:
            raise detail(404, "Not found.") from None
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM scope_mappings WHERE pk = ?", (pk,)).fetchone()
        if row is None:
            raise not_found("ScopeMapping")
        return row

    def _record(self, action: Action, call: Call, pk: str, name: str) -> None:
        about = {"model": model("authentik_providers_oauth2", "scopemapping", pk, name)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def _shown(row: sqlite3.Row) -> dict[str, object]:
    return {
        **{name: row[name] for name in ("pk", "managed", *COLUMNS)},
        "component": "ak-property-mapping-provider-scope-form",
        "verbose_name": "Scope Mapping",
        "verbose_name_plural": "Scope Mappings",
        "meta_model_name": "authentik_providers_oauth2.scopemapping",
    }
