"""/graph/v1.0/drives: project spaces, which are deleted in two steps."""

import re
import sqlite3
from collections.abc import Callable

from pydantic import Field
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.bodies import Body, parse
from infrastructure.sandbox.ocis.filters import drive_filter
from infrastructure.sandbox.ocis.gate import Call, Gate, Refused, not_found
from infrastructure.sandbox.ocis.roles import MANAGER
from infrastructure.sandbox.ocis.spaces import NewDrive, Spaces

DRIVES = "/graph/v1.0/drives"
FORBIDDEN_IN_NAMES = re.compile(r"[/\\.:?*\"<>|]")
TRUE = ("", "1", "t", "T", "true", "TRUE", "True")
ORDERS = {"name": "name", "lastModifiedDateTime": "modified"}


class Quota(Body):
    """`total` in bytes, 0 for none."""

    total: int | None = Field(default=None, ge=0, lt=2**63)


class DriveChange(Body):
    """POST and PATCH."""

    name: str | None = Field(default=None, max_length=255)
    drive_type: str | None = None
    description: str | None = None
    drive_alias: str | None = None
    quota: Quota | None = None


class Drives:
    """The drives resource. Names are not unique."""

    def __init__(self, spaces: Spaces, audit: Audit) -> None:
        self._spaces = spaces
        self._audit = audit

    def routes(self, gate: Gate) -> list[Route]:
        routes = []
        for version in ("v1.0", "v1beta1"):
            path = f"/graph/{version}/drives"
            routes.append(gate.route(path, get=self._list, post=self._create))
            routes.append(gate.route(path + "/{drive}", get=self._read, patch=self._change, delete=self._remove))
            routes.append(gate.route(f"/graph/{version}/me/drives", get=self._list_own))
        return routes

    def _list(self, call: Call) -> Response:
        return self._listed(call, lambda row: call.is_admin or self._spaces.sees(row, call.user["id"]))

    def _list_own(self, call: Call) -> Response:
        return self._listed(call, lambda row: self._spaces.sees(row, call.user["id"]))

    def _listed(self, call: Call, sees: Callable[[sqlite3.Row], bool]) -> Response:
        rows = [row for row in self._spaces.drives() if sees(row)]
        if call.query.get("$filter"):
            test = drive_filter(call.query["$filter"])
            rows = [row for row in rows if test(row)]
        field, _, direction = call.query.get("$orderby", "").partition(" ")
        if field:
            if field not in ORDERS or direction not in ("", "asc", "desc"):
                raise Refused(400, "invalidRequest", f"we do not support '{field}' as an order parameter")
            rows.sort(key=lambda row: str(row[ORDERS[field]]), reverse=direction == "desc")
        return JSONResponse({"value": [self._spaces.shown(row) for row in rows]})

    def _create(self, call: Call) -> Response:
        if not call.is_admin:
            raise Refused(403, "notAllowed", "insufficient permissions to create a space.")
        new = parse(DriveChange, call.body)
        if not new.name:
            raise Refused(400, "invalidRequest", "spacename must not be empty")
        _check_name(new.name)
        if new.drive_type not in (None, "", "project"):
            raise Refused(400, "invalidRequest", f"drives of type {new.drive_type} cannot be created via this api")
        alias = new.drive_alias or f"project/{re.sub(r'[^a-z0-9]+', '-', new.name.lower()).strip('-')}"
        total = new.quota.total or 0 if new.quota else 0
        row = self._spaces.add(NewDrive(new.name, new.description or "", alias, total), call.user["id"])
        self._audit.record(
            "space_created", f"space '{row['id']}' with name '{row['name']}' was created", SpaceID=row["id"]
        )
        return JSONResponse(self._spaces.shown(row), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._spaces.shown(seen(self._spaces, call)))

    def _change(self, call: Call) -> Response:
        row = self._managed(call)
        change = parse(DriveChange, call.body)
        if change.name is not None:
            if not change.name:
                raise Refused(400, "invalidRequest", "spacename must not be empty")
            _check_name(change.name)
        if change.quota is not None and not call.is_admin:
            raise Refused(403, "notAllowed", "user is not allowed to set the space quota")
        changes: dict[str, object] = {
            "name": change.name,
            "description": change.description,
            "alias": change.drive_alias,
            "total": change.quota.total if change.quota else None,
        }
        changes = {column: value for column, value in changes.items() if value is not None}
        restored = row["trashed"] and _flag(call.headers, "restore")
        if restored:
            changes["trashed"] = 0
        self._spaces.change(row["id"], changes)
        action = "space_enabled" if restored else "space_renamed" if change.name is not None else "space_updated"
        self._audit.record(action, f"space '{row['id']}' was changed", SpaceID=row["id"])
        return JSONResponse(self._spaces.shown(seen(self._spaces, call)))

    def _remove(self, call: Call) -> Response:
        row = self._managed(call)
        if not _flag(call.headers, "purge"):
            self._spaces.change(row["id"], {"trashed": 1})
            self._audit.record("space_disabled", f"space '{row['id']}' was disabled", SpaceID=row["id"])
        elif row["trashed"]:
            self._spaces.remove(row["id"])
            self._audit.record("space_deleted", f"space '{row['id']}' was deleted", SpaceID=row["id"])
        else:
            raise Refused(400, "invalidRequest", "error: bad request: can't purge enabled space")
        return Response(status_code=204)

    def _managed(self, call: Call) -> sqlite3.Row:
        """Raises Refused: 404 for a drive that the caller does not see, 403 for one that it does not manage."""
        row = seen(self._spaces, call)
        if row["kind"] != "project":
            raise Refused(403, "accessDenied", "personal spaces cannot be changed")
        if not call.is_admin and self._spaces.role_of(row["id"], call.user["id"]) != MANAGER:
            raise Refused(403, "accessDenied", "the user has not the required role")
        return row


def seen(spaces: Spaces, call: Call) -> sqlite3.Row:
    """The drive of the path. Raises Refused 404, for a drive that the caller may not see as for one that is not."""
    row = spaces.drive(call.path["drive"])
    if row is None or not (call.is_admin or spaces.sees(row, call.user["id"])):
        raise not_found("drive")
    return row


def _flag(headers: Headers, name: str) -> bool:
    return headers.get(name, "false") in TRUE


def _check_name(name: str) -> None:
    if FORBIDDEN_IN_NAMES.search(name):
        raise Refused(400, "invalidRequest", 'spacename must not contain any of / \\ . : ? * " > < |')
