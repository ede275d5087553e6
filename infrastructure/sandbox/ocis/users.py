"""/graph/v1.0/users and /graph/v1.0/me."""

import re
import sqlite3
from typing import Any

from pydantic import Field
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.bodies import Body, parse
from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.filters import ADMIN_ROLE, USER_ROLE, user_filter
from infrastructure.sandbox.ocis.gate import Call, Gate, Refused, not_found
from infrastructure.sandbox.ocis.spaces import Spaces

USERS = "/graph/v1.0/users"
SHORTEST_SEARCH = 3
COLUMNS = {
    "displayName": "display_name",
    "mail": "mail",
    "onPremisesSamAccountName": "name",
    "givenName": "given_name",
    "surname": "surname",
    "preferredLanguage": "language",
    "accountEnabled": "enabled",
}
ORDERS = {"displayName": "display_name", "mail": "mail", "onPremisesSamAccountName": "name"}


class PasswordProfile(Body):
    password: str = ""
    force_change_password_next_sign_in: bool = False


class UserChange(Body):
    """PATCH. The password is not kept: signing in is the identity provider's."""

    id: str | None = None
    display_name: str | None = Field(default=None, max_length=255)
    on_premises_sam_account_name: str | None = None
    mail: str | None = None
    given_name: str | None = None
    surname: str | None = None
    preferred_language: str | None = None
    account_enabled: bool | None = None
    password_profile: PasswordProfile | None = None
    user_type: str | None = None


class Users:
    """The users resource. `username_match` as GRAPH_USERNAME_MATCH: `default` or `none`."""

    def __init__(self, directory: Directory, spaces: Spaces, audit: Audit, username_match: str) -> None:
        self._directory = directory
        self._spaces = spaces
        self._audit = audit
        self._any_name = username_match == "none"

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route(USERS, get=self._list, post=self._create),
            gate.route(USERS + "/{user}", get=self._read, patch=self._change, delete=self._remove),
            gate.route("/graph/v1.0/me", get=self._me),
        ]

    def shown(self, row: sqlite3.Row, expand: str = "") -> dict[str, Any]:
        """A user as it reads; `expand` as the query parameter of that name."""
        shown: dict[str, Any] = {
            "id": row["id"],
            "displayName": row["display_name"],
            "mail": row["mail"],
            "onPremisesSamAccountName": row["name"],
            "surname": row["surname"] or row["display_name"],
            "accountEnabled": bool(row["enabled"]),
            "userType": "Member",
        }
        wanted = {name.strip() for name in expand.split(",") if name}
        if "memberOf" in wanted:
            groups = self._directory.groups_of(row["id"])
            shown["memberOf"] = [{"id": group["id"], "displayName": group["display_name"]} for group in groups]
        if "drive" in wanted:
            personal = self._spaces.personal(row["id"])
            shown["drive"] = self._spaces.shown(personal) if personal else None
        if "appRoleAssignments" in wanted:
            role = ADMIN_ROLE if row["id"] == self._directory.administrator()["id"] else USER_ROLE
            assignment = {"id": f"{row['id']}:{role}", "appRoleId": role, "principalId": row["id"]}
            shown["appRoleAssignments"] = [{**assignment, "principalType": "User", "resourceId": "some-graph-app-id"}]
        return shown

    def _list(self, call: Call) -> Response:
        search = call.query.get("$search", "").strip('"')
        if not call.is_admin and len(search) < SHORTEST_SEARCH:
            raise Refused(403, "accessDenied", "search term too short")
        rows = self._directory.users()
        if search:
            rows = [row for row in rows if _found(row, search)]
        if call.query.get("$filter"):
            test = user_filter(call.query["$filter"], self._directory)
            rows = [row for row in rows if test(row)]
        expand = call.query.get("$expand", "")
        return JSONResponse({"value": [self.shown(row, expand) for row in _ordered(rows, call.query)]})

    def _create(self, call: Call) -> Response:
        call.demand_admin()
        new = parse(UserChange, call.body)
        name, display_name = new.on_premises_sam_account_name, new.display_name
        if not display_name or not name:
            missing = "displayName" if not display_name else "onPremisesSamAccountName"
            raise Refused(400, "invalidRequest", f"missing required property: '{missing}'")
        if new.id is not None:
            raise Refused(400, "invalidRequest", "user id is a read-only attribute")
        self._check(new)
        if self._directory.user(name) is not None:
            raise Refused(409, "nameAlreadyExists", "user already exists")
        row = self._directory.add_user(name, display_name, new.mail or "", enabled=new.account_enabled is not False)
        self._write(row["id"], new)
        self._audit.record("user_created", f"user '{row['id']}' was created", UserID=row["id"])
        return JSONResponse(self.shown(self._row(row["id"])), 201)

    def _read(self, call: Call) -> Response:
        row = self._row(call.path["user"])
        if not call.is_admin and row["id"] != call.user["id"]:
            raise Refused(403, "accessDenied", "the user has not the required role")
        return JSONResponse(self.shown(row, call.query.get("$expand", "")))

    def _me(self, call: Call) -> Response:
        return JSONResponse(self.shown(call.user, call.query.get("$expand", "")))

    def _change(self, call: Call) -> Response:
        call.demand_admin()
        row = self._row(call.path["user"])
        change = parse(UserChange, call.body)
        if change.id not in (None, row["id"]):
            raise Refused(400, "invalidRequest", "user id is a read-only attribute")
        if change.display_name == "":
            raise Refused(400, "invalidRequest", "'displayName' cannot be cleared")
        self._check(change)
        name = change.on_premises_sam_account_name
        holder = self._directory.user(name) if name else None
        if holder is not None and holder["id"] != row["id"]:
            raise Refused(409, "nameAlreadyExists", "user already exists")
        self._write(row["id"], change)
        self._audit.record("user_feature_changed", f"user '{row['id']}' was changed", UserID=row["id"])
        return JSONResponse(self.shown(self._row(row["id"])))

    def _remove(self, call: Call) -> Response:
        call.demand_admin()
        row = self._row(call.path["user"])
        if row["id"] == call.user["id"]:
            raise Refused(403, "notAllowed", "self deletion forbidden")
        self._directory.remove_user(row["id"])
        self._audit.record("user_deleted", f"user '{row['id']}' was deleted", UserID=row["id"])
        return Response(status_code=204)

    def _check(self, change: UserChange) -> None:
        name, mail = change.on_premises_sam_account_name, change.mail
        if name is not None and not self._any_name and not re.fullmatch(r"[a-zA-Z_][\w.@+-]*", name):
            raise Refused(400, "invalidRequest", f"username '{name}' must be at least the local part of an email")
        if mail and not re.fullmatch(r"[^\s@]+@[^\s@]+", mail):
            raise Refused(400, "invalidRequest", f"'{mail}' is not a valid email address")

    def _write(self, identity: str, change: UserChange) -> None:
        given = change.model_dump(by_alias=True, exclude_none=True)
        self._directory.change_user(identity, {COLUMNS[key]: value for key, value in given.items() if key in COLUMNS})

    def _row(self, identity: str) -> sqlite3.Row:
        row = self._directory.user(identity)
        if row is None:
            raise not_found("user")
        return row


def _found(row: sqlite3.Row, search: str) -> bool:
    return any(search.casefold() in row[column].casefold() for column in ("display_name", "name", "mail"))


def _ordered(rows: list[sqlite3.Row], query: QueryParams) -> list[sqlite3.Row]:
    field, _, direction = query.get("$orderby", "").partition(" ")
    if not field:
        return rows
    if field not in ORDERS or direction not in ("", "asc", "desc"):
        raise Refused(400, "invalidRequest", f"we do not support '{field}' as an order parameter")
    return sorted(rows, key=lambda row: str(row[ORDERS[field]]), reverse=direction == "desc")
