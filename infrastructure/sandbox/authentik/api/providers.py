"""`/providers/oauth2/`.

`sub_mode`, `issuer_mode`, `signing_key` and the lifetimes are kept and shown, but tokens are always those of the
defaults: RS256 by the one key pair, the hashed id as subject, an issuer per application, five minutes.
"""

import json
import re
import secrets
import sqlite3
from typing import Any, Literal
from uuid import UUID

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, RowId, Text, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import ApiError, Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.certificates import KeyPair
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

GrantType = Literal[
    "authorization_code",
    "implicit",
    "hybrid",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
]
LISTING = Listing("providers", searched=("name",), order=("name", "pk", "client_id"), unique="pk")
DEFAULTS: dict[str, Any] = {
    "authentication_flow": None,
    "authorization_flow": None,
    "invalidation_flow": None,
    "client_type": "confidential",
    "access_code_validity": "minutes=1",
    "access_token_validity": "minutes=5",
    "refresh_token_validity": "days=30",
    "refresh_token_threshold": "seconds=0",
    "include_claims_in_id_token": True,
    "signing_key": None,
    "encryption_key": None,
    "logout_uri": "",
    "logout_method": "backchannel",
    "sub_mode": "hashed_user_id",
    "issuer_mode": "per_provider",
    "jwt_federation_sources": [],
    "jwt_federation_providers": [],
}


SHIPPED_FLOWS = {
    "authorization_flow": "default-provider-authorization-implicit-consent",
    "invalidation_flow": "default-provider-invalidation-flow",
}


class RedirectEntry(Body):
    matching_mode: Literal["strict", "regex"]
    url: Required
    redirect_uri_type: Literal["authorization", "logout"] = "authorization"


class ProviderChange(Body):
    """PATCH. Lists replace the old ones whole."""

    name: Required = ""
    client_id: str = Field("", min_length=1, max_length=255)
    client_secret: str = Field("", max_length=255)
    grant_types: tuple[GrantType, ...] = ()
    redirect_uris: tuple[RedirectEntry, ...] = ()
    property_mappings: tuple[UUID, ...] = ()
    authentication_flow: UUID | None = None
    authorization_flow: UUID | None = None
    invalidation_flow: UUID | None = None
    client_type: Literal["confidential", "public"] = "confidential"
    access_code_validity: Required = "minutes=1"
    access_token_validity: Required = "minutes=5"
    refresh_token_validity: Required = "days=30"
    refresh_token_threshold: Required = "seconds=0"
    include_claims_in_id_token: bool = True
    signing_key: UUID | None = None
    encryption_key: UUID | None = None
    logout_uri: Text = ""
    logout_method: Literal["backchannel", "frontchannel"] = "backchannel"
    sub_mode: Literal["hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn"] = (
        "hashed_user_id"
    )
    issuer_mode: Literal["global", "per_provider"] = "per_provider"
    jwt_federation_sources: tuple[UUID, ...] = ()
    jwt_federation_providers: tuple[RowId, ...] = ()


class NewProvider(ProviderChange):
    """POST. Grant types that are not said are none: every token request will fail."""

    name: Required
    authorization_flow: UUID
    invalidation_flow: UUID
    redirect_uris: tuple[RedirectEntry, ...]


class Providers:
    """The OAuth2 providers resource, addressed by number."""

    def __init__(self, store: sqlite3.Connection, pair: KeyPair, journal: Journal) -> None:
        self._store = store
        self._pair = pair
        self._journal = journal

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/providers/oauth2/", get=self._list, post=self._create),
            gate.route("/providers/oauth2/{pk}/", get=self._read, patch=self._change, delete=self._remove),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name", "client_id")
        if application := call.query.get("application"):
            selection.where("pk = (SELECT provider FROM applications WHERE applications.pk = ?)", application)
        return selection.page(self._store, LISTING, self._shown)

    def _create(self, call: Call) -> Response:
        new = parse(NewProvider, call.body)
        self._check(new, 0)
        values = (new.name, new.client_id or secrets.token_urlsafe(30), new.client_secret or secrets.token_urlsafe(96))
        pk = self._store.execute(
            "INSERT INTO providers (name, client_id, client_secret, redirect_uris, grant_types, property_mappings)"
            " VALUES (?, ?, ?, '[]', '[]', '[]')",
            values,
        ).lastrowid
        assert pk is not None
        self._write(pk, new, new.model_fields_set - {"name", "client_id", "client_secret"})
        self._record("model_created", call, pk, new.name)
        return JSONResponse(self._shown(self._row(str(pk))), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._shown(self._row(call.path["pk"])))

    def _change(self, call: Call) -> Response:
        row = self._row(call.path["pk"])
        change = parse(ProviderChange, call.body)
        self._check(change, row["pk"])
        self._write(row["pk"], change, change.model_fields_set)
        self._record("model_updated", call, row["pk"], row["name"])
        return JSONResponse(self._shown(self._row(call.path["pk"])))

    def _remove(self, call: Call) -> Response:
        row = self._row(call.path["pk"])
        self._store.execute("DELETE FROM providers WHERE pk = ?", (row["pk"],))
        self._record("model_deleted", call, row["pk"], row["name"])
        return Response(status_code=204)

    def _check(self, change: ProviderChange, own_pk: int) -> None:
        """Raises ApiError 400 for what only the store can judge."""
        for column in ("name", "client_id"):
            value = getattr(change, column)
            taken = self._store.execute(f"SELECT 1 FROM providers WHERE {column} = ? AND pk <> ?", (value, own_pk))
            if value and taken.fetchone():
                raise wrong(column, TAKEN)
        for name in ("authentication_flow", "authorization_flow", "invalidation_flow"):
            flow = getattr(change, name)
            if flow and not self._store.execute("SELECT 1 FROM flows WHERE pk = ?", (str(flow),)).fetchone():
                raise no_such(name, flow)
        for pk in change.property_mappings:
            if not self._store.execute("SELECT 1 FROM scope_mappings WHERE pk = ?", (str(pk),)).fetchone():
                raise no_such("property_mappings", pk)
        for name in ("signing_key", "encryption_key"):
            key = getattr(change, name)
            if key and str(key) != self._pair.pk:
                raise no_such(name, key)
        for entry in change.redirect_uris:
            _require_expression(entry)

    def _write(self, pk: int, change: ProviderChange, names: set[str]) -> None:
        said = change.model_dump(mode="json", include=names)
        for name in ("name", "client_id", "client_secret"):
            if name in said:
                self._store.execute(f"UPDATE providers SET {name} = ? WHERE pk = ?", (said.pop(name), pk))
        for name in ("redirect_uris", "grant_types", "property_mappings"):
            if name in said:
                self._store.execute(f"UPDATE providers SET {name} = ? WHERE pk = ?", (json.dumps(said.pop(name)), pk))
        (fields,) = self._store.execute("SELECT fields FROM providers WHERE pk = ?", (pk,)).fetchone()
        merged = json.dumps(json.loads(fields) | said)
        self._store.execute("UPDATE providers SET fields = ? WHERE pk = ?", (merged, pk))

    def _row(self, text: str) -> sqlite3.Row:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise detail(404, "Not found.")
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM providers WHERE pk = ?", (int(text),)).fetchone()
        if row is None:
            raise not_found("OAuth2Provider")
        return row

    def _shown(self, row: sqlite3.Row) -> dict[str, object]:
        kept = {name: json.loads(row[name]) for name in ("redirect_uris", "grant_types", "property_mappings")}
        own = {name: row[name] for name in ("pk", "name", "client_id", "client_secret")}
        return {**fields_of(self._store, row), **kept, **own, **assignment(self._store, row["pk"])}

    def _record(self, action: Action, call: Call, pk: int, name: str) -> None:
        about = {"model": model("authentik_providers_oauth2", "oauth2provider", pk, name)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def fields_of(store: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """What is kept of a provider. One that a seed brought has the shipped flows."""
    shipped = {}
    for name, slug in SHIPPED_FLOWS.items():
        flow = store.execute("SELECT pk FROM flows WHERE slug = ?", (slug,)).fetchone()
        shipped[name] = flow["pk"] if flow else None
    return {**DEFAULTS, **shipped, **json.loads(row["fields"])}


def assignment(store: sqlite3.Connection, pk: int) -> dict[str, object]:
    """What every kind of provider shows of the application that it belongs to, and of itself."""
    row = store.execute("SELECT slug, name FROM applications WHERE provider = ?", (pk,)).fetchone()
    return {
        "component": "ak-provider-oauth2-form",
        "assigned_application_slug": row["slug"] if row else None,
        "assigned_application_name": row["name"] if row else None,
        "assigned_backchannel_application_slug": None,
        "assigned_backchannel_application_name": None,
        "verbose_name": "OAuth2/OpenID Provider",
        "verbose_name_plural": "OAuth2/OpenID Providers",
        "meta_model_name": "authentik_providers_oauth2.oauth2provider",
    }


def _require_expression(entry: RedirectEntry) -> None:
    if entry.matching_mode == "regex":
        try:
            re.compile(entry.url)
        except re.error:
            raise ApiError(400, {"redirect_uris": [f"Invalid Regex Pattern: {entry.url}"]}) from None
