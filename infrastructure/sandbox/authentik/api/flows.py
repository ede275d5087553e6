"""`/flows/instances/` and `/core/brands/`: what it takes to give the brand a recovery flow."""

import json
import sqlite3
from typing import Literal
from uuid import UUID, uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, Slug, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

Designation = Literal[
    "authentication",
    "authorization",
    "invalidation",
    "enrollment",
    "unenrollment",
    "recovery",
    "stage_configuration",
]
FLOWS = Listing("flows", searched=("name", "slug", "designation", "title"), order=("slug", "name", "pk"), unique="pk")
BRANDS = Listing("brands", searched=("domain",), order=("domain",), unique="brand_uuid")
TITLE = "branding_title"
FLOW_FIELDS = (
    "flow_authentication",
    "flow_user_switch",
    "flow_invalidation",
    "flow_recovery",
    "flow_unenrollment",
    "flow_user_settings",
    "flow_device_code",
    "flow_lockdown",
    "flow_request",
)
BRAND_DEFAULTS: dict[str, object] = {
    "default": False,
    TITLE: "authentik",
    "branding_logo": "/static/dist/assets/icons/icon_left_brand.svg",
    "branding_favicon": "/static/dist/assets/icons/icon.png",
    "branding_custom_css": "",
    "branding_default_flow_background": "/static/dist/assets/images/flow_background.jpg",
    "branding_map_tiles": "",
    **dict.fromkeys(FLOW_FIELDS),
    "default_application": None,
    "web_certificate": None,
    "client_certificates": [],
    "attributes": {},
}


class NewFlow(Body):
    name: Required
    slug: Slug
    title: Required
    designation: Designation


class BrandChange(Body):
    """PATCH: the flows and the title can be changed; other members are read only here."""

    branding_title: Required = "authentik"
    flow_authentication: UUID | None = None
    flow_user_switch: UUID | None = None
    flow_invalidation: UUID | None = None
    flow_recovery: UUID | None = None
    flow_unenrollment: UUID | None = None
    flow_user_settings: UUID | None = None
    flow_device_code: UUID | None = None
    flow_lockdown: UUID | None = None
    flow_request: UUID | None = None


class Flows:
    """The flows resource, addressed by slug, and the brands resource, addressed by UUID."""

    def __init__(self, store: sqlite3.Connection, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/flows/instances/", get=self._list, post=self._create),
            gate.route("/flows/instances/{slug}/", get=self._read),
            gate.route("/core/brands/", get=self._list_brands),
            gate.route("/core/brands/{uuid}/", get=self._read_brand, patch=self._change_brand),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("slug", "name", "designation")
        return selection.page(self._store, FLOWS, _flow)

    def _create(self, call: Call) -> Response:
        new = parse(NewFlow, call.body)
        if self._store.execute("SELECT 1 FROM flows WHERE slug = ?", (new.slug,)).fetchone():
            raise wrong("slug", TAKEN)
        pk = str(uuid4())
        self._store.execute(
            "INSERT INTO flows (pk, slug, name, title, designation) VALUES (?, ?, ?, ?, ?)",
            (pk, new.slug, new.name, new.title, new.designation),
        )
        self._record("model_created", call, model("authentik_flows", "flow", pk, new.name))
        return JSONResponse(_flow(self._store.execute("SELECT * FROM flows WHERE pk = ?", (pk,)).fetchone()), 201)

    def _read(self, call: Call) -> Response:
        row = self._store.execute("SELECT * FROM flows WHERE slug = ?", (call.path["slug"],)).fetchone()
        if row is None:
            raise not_found("Flow")
        return JSONResponse(_flow(row))

    def _list_brands(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("domain")
        return selection.page(self._store, BRANDS, _brand)

    def _read_brand(self, call: Call) -> Response:
        return JSONResponse(_brand(self._brand_row(call)))

    def _change_brand(self, call: Call) -> Response:
        row = self._brand_row(call)
        change = parse(BrandChange, call.body)
        fields: dict[str, object] = json.loads(row["fields"])
        for name in change.model_fields_set:
            value = getattr(change, name)
            if name in FLOW_FIELDS and value is not None:
                value = str(value)
                if self._store.execute("SELECT 1 FROM flows WHERE pk = ?", (value,)).fetchone() is None:
                    raise no_such(name, value)
            fields[name] = value
        pk = row["brand_uuid"]
        self._store.execute("UPDATE brands SET fields = ? WHERE brand_uuid = ?", (json.dumps(fields), pk))
        self._record("model_updated", call, model("authentik_brands", "brand", pk, row["domain"]))
        return JSONResponse(_brand(self._brand_row(call)))

    def _brand_row(self, call: Call) -> sqlite3.Row:
        try:
            pk = str(UUID(call.path["uuid"]))
        except ValueError:
            raise detail(404, "Not found.") from None
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM brands WHERE brand_uuid = ?", (pk,)).fetchone()
        if row is None:
            raise not_found("Brand")
        return row

    def _record(self, action: Action, call: Call, about: dict[str, object]) -> None:
        self._journal.record(action, call.actor, call.origin, {"model": about}, MODELS)


def _brand(row: sqlite3.Row) -> dict[str, object]:
    return {"brand_uuid": row["brand_uuid"], "domain": row["domain"], **BRAND_DEFAULTS, **json.loads(row["fields"])}


def _flow(row: sqlite3.Row) -> dict[str, object]:
    return {
        "pk": row["pk"],
        "policybindingmodel_ptr_id": row["pk"],
        "name": row["name"],
        "slug": row["slug"],
        "title": row["title"],
        "designation": row["designation"],
        "background": "",
        "background_url": BRAND_DEFAULTS["branding_default_flow_background"],
        "background_themed_urls": None,
        "stages": [],
        "policies": [],
        "cache_count": 0,
        "policy_engine_mode": "any",
        "compatibility_mode": False,
        "export_url": f"/api/v3/flows/instances/{row['slug']}/export/",
        "layout": "stacked",
        "denied_action": "message_continue",
        "authentication": "none",
    }
