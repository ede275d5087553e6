"""/graph/v1beta1/drives/{id}/root/invite and permissions: who may do what in a space."""

import sqlite3
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.bodies import Body, parse
from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.drives import seen
from infrastructure.sandbox.ocis.gate import Call, Gate, Refused, not_found
from infrastructure.sandbox.ocis.roles import CAPABILITY, MANAGE, MANAGER, OF_SPACES, READ, WRITE
from infrastructure.sandbox.ocis.spaces import Spaces

ROOT = "/graph/v1beta1/drives/{drive}/root"


class Recipient(Body):
    object_id: str = Field(min_length=1)
    kind: Literal["user", "group"] = Field(default="user", alias="@libre.graph.recipient.type")


class Invitation(Body):
    """One recipient and one role: the original takes no more of either."""

    recipients: list[Recipient] = Field(min_length=1, max_length=1)
    roles: list[str] = Field(min_length=1, max_length=1)
    expiration_date_time: AwareDatetime | None = None


class RoleChange(Body):
    roles: list[str] = Field(min_length=1, max_length=1)


class Members:
    """Grants on the root of a project space. A permission's id is `u:` or `g:` and the id of its holder."""

    def __init__(self, directory: Directory, spaces: Spaces, audit: Audit) -> None:
        self._directory = directory
        self._spaces = spaces
        self._audit = audit

    def routes(self, gate: Gate) -> list[Route]:
        one = ROOT + "/permissions/{permission}"
        return [
            gate.route(ROOT + "/invite", post=self._invite),
            gate.route(ROOT + "/permissions", get=self._list),
            gate.route(one, get=self._read, patch=self._change, delete=self._remove),
        ]

    def _shown(self, grant: sqlite3.Row) -> dict[str, Any]:
        is_user = grant["kind"] == "user"
        holder = self._directory.user(grant["holder"]) if is_user else self._directory.group(grant["holder"])
        name = holder["display_name"] if holder else ""
        identity: dict[str, Any] = {"id": grant["holder"], "displayName": name}
        if is_user:
            identity["@libre.graph.userType"] = "Member"
        shown: dict[str, Any] = {
            "id": f"{grant['kind'][0]}:{grant['holder']}",
            "grantedToV2": {grant["kind"]: identity},
            "roles": [grant["role"]],
            "createdDateTime": grant["created"],
        }
        return {**shown, "expirationDateTime": grant["expires"]} if grant["expires"] else shown

    def _list(self, call: Call) -> Response:
        row = self._enabled(call)
        roles = [{key: item for key, item in role.items() if key != "rolePermissions"} for role in OF_SPACES]
        return JSONResponse(
            {
                "@libre.graph.permissions.actions.allowedValues": [*READ, *WRITE, *MANAGE],
                "@libre.graph.permissions.roles.allowedValues": roles,
                "value": [self._shown(grant) for grant in self._spaces.grants(row["id"])],
            }
        )

    def _invite(self, call: Call) -> Response:
        row = self._managed(call)
        invitation = parse(Invitation, call.body)
        recipient, role = invitation.recipients[0], _role(invitation.roles)
        expires = invitation.expiration_date_time
        if expires is not None and expires <= datetime.now(UTC):
            raise Refused(400, "invalidRequest", "expirationDateTime must be in the future")
        found = self._directory.user if recipient.kind == "user" else self._directory.group
        holder = found(recipient.object_id)
        if holder is None or holder["id"] != recipient.object_id:
            raise not_found(recipient.kind)
        until = expires.astimezone(UTC).isoformat().replace("+00:00", "Z") if expires else None
        if not self._spaces.grant(row["id"], recipient.kind, holder["id"], role, until):
            raise Refused(409, "nameAlreadyExists", "the grantee already has a permission on the space")
        self._record("space_shared", row, holder["id"], recipient.kind)
        return JSONResponse({"value": [self._shown(self._grant(row, f"{recipient.kind[0]}:{holder['id']}"))]})

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._shown(self._grant(self._enabled(call), call.path["permission"])))

    def _change(self, call: Call) -> Response:
        row = self._managed(call)
        grant = self._grant(row, call.path["permission"])
        role = _role(parse(RoleChange, call.body).roles)
        if role != MANAGER:
            self._keep_a_manager(row, grant)
        self._spaces.change_role(row["id"], grant["kind"], grant["holder"], role)
        return JSONResponse(self._shown(self._grant(row, call.path["permission"])))

    def _remove(self, call: Call) -> Response:
        row = self._managed(call)
        grant = self._grant(row, call.path["permission"])
        self._keep_a_manager(row, grant)
        self._spaces.revoke(row["id"], grant["kind"], grant["holder"])
        self._record("space_unshared", row, grant["holder"], grant["kind"])
        return Response(status_code=204)

    def _keep_a_manager(self, row: sqlite3.Row, grant: sqlite3.Row) -> None:
        managers = [held for held in self._spaces.grants(row["id"]) if held["role"] == MANAGER]
        if [held["holder"] for held in managers] == [grant["holder"]]:
            raise Refused(403, "accessDenied", "the last manager of a space cannot be removed")

    def _grant(self, row: sqlite3.Row, permission: str) -> sqlite3.Row:
        letter, _, holder = permission.partition(":")
        for grant in self._spaces.grants(row["id"]):
            if (grant["kind"][0], grant["holder"]) == (letter, holder):
                return grant
        raise not_found("permission")

    def _enabled(self, call: Call) -> sqlite3.Row:
        """Nobody, the administrator included, reaches into a space that is disabled."""
        row = seen(self._spaces, call)
        if row["trashed"]:
            raise not_found("drive")
        return row

    def _managed(self, call: Call) -> sqlite3.Row:
        row = self._enabled(call)
        if not call.is_admin and self._spaces.role_of(row["id"], call.user["id"]) != MANAGER:
            raise Refused(403, "accessDenied", "the user has not the required role")
        return row

    def _record(self, action: str, row: sqlite3.Row, holder: str, kind: str) -> None:
        about = {"SpaceID": row["id"], "UserID" if kind == "user" else "GroupID": holder}
        self._audit.record(action, f"space '{row['id']}' and {kind} '{holder}'", **about)


def _role(roles: list[str]) -> str:
    if roles[0] not in CAPABILITY:
        raise Refused(400, "invalidRequest", "role not applicable to this resource")
    return roles[0]
