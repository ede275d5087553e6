"""/graph/v1.0/groups and their members."""

import sqlite3
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.bodies import Body, parse
from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.gate import Call, Gate, Refused, not_found
from infrastructure.sandbox.ocis.users import USERS, Users

GROUPS = "/graph/v1.0/groups"


class GroupChange(Body):
    """POST and PATCH. `members@odata.bind` adds members, at most 20 at a time."""

    id: str | None = None
    display_name: str | None = Field(default=None, max_length=255)
    description: str | None = None
    members: list[str] = Field(default=[], alias="members@odata.bind", max_length=20)


class Member(Body):
    link: str = Field(alias="@odata.id")


class Groups:
    """The groups resource. Names are unique."""

    def __init__(self, directory: Directory, users: Users, audit: Audit) -> None:
        self._directory = directory
        self._users = users
        self._audit = audit

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route(GROUPS, get=self._list, post=self._create),
            gate.route(GROUPS + "/{group}", get=self._read, patch=self._change, delete=self._remove),
            gate.route(GROUPS + "/{group}/members", get=self._members),
            gate.route(GROUPS + "/{group}/members/$ref", post=self._join),
            gate.route(GROUPS + "/{group}/members/{user}/$ref", delete=self._leave),
        ]

    def _shown(self, row: sqlite3.Row, expand: str = "") -> dict[str, Any]:
        shown: dict[str, Any] = {"id": row["id"], "displayName": row["display_name"], "groupTypes": []}
        if "members" in expand.split(","):
            shown["members"] = [self._users.shown(member) for member in self._directory.members_of(row["id"])]
        return shown

    def _list(self, call: Call) -> Response:
        call.demand_admin()
        search = call.query.get("$search", "").strip('"').casefold()
        rows = [row for row in self._directory.groups() if search in row["display_name"].casefold()]
        return JSONResponse({"value": [self._shown(row, call.query.get("$expand", "")) for row in rows]})

    def _create(self, call: Call) -> Response:
        call.demand_admin()
        new = parse(GroupChange, call.body)
        if new.id is not None:
            raise Refused(400, "invalidRequest", "group id is a read-only attribute")
        if not new.display_name:
            raise Refused(400, "invalidRequest", "missing required property: 'displayName'")
        self._check_free(new.display_name, None)
        row = self._directory.add_group(new.display_name)
        self._audit.record("group_created", f"group '{row['id']}' was created", GroupID=row["id"])
        self._add(row, new.members)
        return JSONResponse(self._shown(row), 201)

    def _read(self, call: Call) -> Response:
        call.demand_admin()
        return JSONResponse(self._shown(self._row(call), call.query.get("$expand", "")))

    def _change(self, call: Call) -> Response:
        call.demand_admin()
        row = self._row(call)
        change = parse(GroupChange, call.body)
        if change.display_name:
            self._check_free(change.display_name, row)
            self._directory.rename_group(row["id"], change.display_name)
        self._add(row, change.members)
        return Response(status_code=204)

    def _remove(self, call: Call) -> Response:
        call.demand_admin()
        row = self._row(call)
        self._directory.remove_group(row["id"])
        self._audit.record("group_deleted", f"group '{row['id']}' was deleted", GroupID=row["id"])
        return Response(status_code=204)

    def _members(self, call: Call) -> Response:
        call.demand_admin()
        members = self._directory.members_of(self._row(call)["id"])
        return JSONResponse({"value": [self._users.shown(member) for member in members]})

    def _join(self, call: Call) -> Response:
        call.demand_admin()
        self._add(self._row(call), [parse(Member, call.body).link])
        return Response(status_code=204)

    def _leave(self, call: Call) -> Response:
        call.demand_admin()
        row, user = self._row(call), self._directory.user(call.path["user"])
        if user is None or not self._directory.leave(row["id"], user["id"]):
            raise not_found("member")
        about = {"GroupID": row["id"], "UserID": user["id"]}
        self._audit.record("group_member_removed", f"user '{user['id']}' was removed from a group", **about)
        return Response(status_code=204)

    def _add(self, row: sqlite3.Row, links: list[str]) -> None:
        """Joining twice is joining once. Raises Refused: 400 for what is no link to a user, 404 for an unknown one."""
        for link in links:
            path = urlsplit(link).path
            if not path.startswith(f"{USERS}/"):
                raise Refused(400, "invalidRequest", "Error parsing member@odata.bind values")
            user = self._directory.user(unquote(path.removeprefix(f"{USERS}/")))
            if user is None:
                raise not_found("user")
            if self._directory.join(row["id"], user["id"]):
                about = {"GroupID": row["id"], "UserID": user["id"]}
                self._audit.record("group_member_added", f"user '{user['id']}' was added to a group", **about)

    def _check_free(self, name: str, row: sqlite3.Row | None) -> None:
        holder = self._directory.group(name)
        if holder is not None and (row is None or holder["id"] != row["id"]):
            raise Refused(409, "nameAlreadyExists", "group already exists")

    def _row(self, call: Call) -> sqlite3.Row:
        row = self._directory.group(call.path["group"])
        if row is None:
            raise not_found("group")
        return row
