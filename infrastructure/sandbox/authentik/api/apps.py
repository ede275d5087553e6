"""`/core/applications/`, addressed by slug."""

import json
import sqlite3
from typing import Any, Literal
from uuid import uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, RowId, Slug, Text, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import Call, Gate, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.api.providers import assignment, fields_of
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

LISTING = Listing("applications", searched=("name", "slug"), order=("name", "slug", "pk"), unique="pk")
SHOWN: dict[str, Any] = {
    "open_in_new_tab": False,
    "meta_launch_url": "",
    "meta_icon": "",
    "meta_description": "",
    "meta_publisher": "",
    "group": "",
    "meta_hide": False,
}
OF_PROVIDER = ("authentication_flow", "authorization_flow", "invalidation_flow")


class ApplicationChange(Body):
    name: Required = ""
    slug: Slug = "unchanged"
    provider: RowId | None = None
    policy_engine_mode: Literal["any", "all"] = "any"
    open_in_new_tab: bool = False
    meta_launch_url: Text = ""
    meta_icon: Text = ""
    meta_description: Text = ""
    meta_publisher: Text = ""
    group: Text = ""
    meta_hide: bool = False


class NewApplicationBody(ApplicationChange):
    name: Required
    slug: Slug


class ApplicationsResource:
    """The applications resource. A provider belongs to one application at most."""

    def __init__(self, store: sqlite3.Connection, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/core/applications/", get=self._list, post=self._create),
            gate.route("/core/applications/{slug}/", get=self._read, patch=self._change, delete=self._remove),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name", "slug")
        return selection.page(self._store, LISTING, self._shown)

    def _create(self, call: Call) -> Response:
        new = parse(NewApplicationBody, call.body)
        self._check(new, "")
        pk = str(uuid4())
        self._store.execute("INSERT INTO applications (slug, pk, name) VALUES (?, ?, ?)", (new.slug, pk, new.name))
        self._write(pk, new, new.model_fields_set - {"name", "slug"})
        self._record("model_created", call, pk, new.name)
        return JSONResponse(self._shown(self._row(new.slug)), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._shown(self._row(call.path["slug"])))

    def _change(self, call: Call) -> Response:
        row = self._row(call.path["slug"])
        change = parse(ApplicationChange, call.body)
        self._check(change, row["pk"])
        self._write(row["pk"], change, change.model_fields_set)
        self._record("model_updated", call, row["pk"], row["name"])
        slug = change.slug if "slug" in change.model_fields_set else row["slug"]
        return JSONResponse(self._shown(self._row(slug)))

    def _remove(self, call: Call) -> Response:
        row = self._row(call.path["slug"])
        self._store.execute("DELETE FROM applications WHERE pk = ?", (row["pk"],))
        self._record("model_deleted", call, row["pk"], row["name"])
        return Response(status_code=204)

    def _check(self, change: ApplicationChange, own_pk: str) -> None:
        """Raises ApiError 400 for what only the store can judge."""
        for column in ("slug", "provider"):
            value = getattr(change, column) if column in change.model_fields_set else None
            taken = self._store.execute(f"SELECT 1 FROM applications WHERE {column} = ? AND pk <> ?", (value, own_pk))
            if taken.fetchone():
                raise wrong(column, TAKEN if column == "slug" else "Application with this provider already exists.")
        provider = change.provider
        if provider and not self._store.execute("SELECT 1 FROM providers WHERE pk = ?", (provider,)).fetchone():
            raise no_such("provider", provider)

    def _write(self, pk: str, change: ApplicationChange, names: set[str]) -> None:
        said = change.model_dump(mode="json", include=names)
        for name in ("name", "slug", "provider", "policy_engine_mode"):
            if name in said:
                self._store.execute(f"UPDATE applications SET {name} = ? WHERE pk = ?", (said.pop(name), pk))
        (fields,) = self._store.execute("SELECT fields FROM applications WHERE pk = ?", (pk,)).fetchone()
        merged = json.dumps(json.loads(fields) | said)
        self._store.execute("UPDATE applications SET fields = ? WHERE pk = ?", (merged, pk))

    def _row(self, slug: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM applications WHERE slug = ?", (slug,)).fetchone()
        if row is None:
            raise not_found("Application")
        return row

    def _shown(self, row: sqlite3.Row) -> dict[str, object]:
        shown = {**SHOWN, **json.loads(row["fields"])}
        return {
            **{name: row[name] for name in ("pk", "name", "slug", "provider", "policy_engine_mode")},
            **shown,
            "pbm_uuid": row["pk"],
            "provider_obj": self._provider(row["provider"]),
            "backchannel_providers": [],
            "backchannel_providers_obj": [],
            "launch_url": shown["meta_launch_url"] or None,
            "meta_icon_url": None,
            "meta_icon_themed_urls": None,
        }

    def _provider(self, pk: int | None) -> dict[str, object] | None:
        row = self._store.execute("SELECT * FROM providers WHERE pk = ?", (pk,)).fetchone()
        if row is None:
            return None
        fields = fields_of(self._store, row)
        own = {"pk": row["pk"], "name": row["name"], "property_mappings": json.loads(row["property_mappings"])}
        return {**own, **{name: fields[name] for name in OF_PROVIDER}, **assignment(self._store, row["pk"])}

    def _record(self, action: Action, call: Call, pk: str, name: str) -> None:
        about = {"model": model("authentik_core", "application", pk, name)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)
