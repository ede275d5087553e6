"""`/core/groups/`."""

import json
import sqlite3
from uuid import UUID

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import (
    TAKEN,
    Attributes,
    Body,
    Required,
    RowId,
    no_such,
    parse,
    wrong,
)
from infrastructure.sandbox.authentik.api.gate import Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.api.records import Records
from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

LISTING = Listing("groups", searched=("name",), order=("name", "num_pk", "pk", "is_superuser"), unique="num_pk")


class GroupChange(Body):
    """PATCH. `attributes`, `users` and `parents` replace the old ones whole."""

    name: Required = ""
    is_superuser: bool = False
    parents: tuple[UUID, ...] = ()
    users: tuple[RowId, ...] = ()
    roles: tuple[UUID, ...] = ()
    attributes: Attributes = Field(default_factory=dict)


class NewGroup(GroupChange):
    name: Required


class Member(Body):
    pk: RowId


class Groups:
    """The groups resource. Names are unique and compared exactly."""

    def __init__(self, store: sqlite3.Connection, directory: Directory, journal: Journal) -> None:
        self._store = store
        self._directory = directory
        self._journal = journal
        self._records = Records(store, directory)

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/core/groups/", get=self._list, post=self._create),
            gate.route("/core/groups/{pk}/", get=self._read, patch=self._change, delete=self._remove),
            gate.route("/core/groups/{pk}/add_user/", post=self._add_user),
            gate.route("/core/groups/{pk}/remove_user/", post=self._remove_user),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name")
        selection.true_or_false("is_superuser", "is_superuser")
        selection.attributes()
        members = (
            "EXISTS (SELECT 1 FROM memberships JOIN users ON users.pk = user_pk WHERE group_pk = groups.pk AND {})"
        )
        names, pks = call.query.getlist("members_by_username"), call.query.getlist("members_by_pk")
        if names:
            selection.where(members.format(f"username IN ({', '.join('?' * len(names))})"), *names)
        if pks:
            selection.where(members.format(f"CAST(users.pk AS TEXT) IN ({', '.join('?' * len(pks))})"), *pks)
        return selection.page(
            self._store, LISTING, lambda row: self._records.group(row, include_users=_with_users(call))
        )

    def _create(self, call: Call) -> Response:
        new = parse(NewGroup, call.body)
        self._check(new, "")
        pk = self._directory.add_group(new.name)
        self._write(pk, new, {"is_superuser", "attributes", "users", "parents"})
        self._record("model_created", call, pk, new.name)
        return JSONResponse(self._records.group(self._row(pk)), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._records.group(self._row(call.path["pk"]), include_users=_with_users(call)))

    def _change(self, call: Call) -> Response:
        group = self._row(call.path["pk"])
        change = parse(GroupChange, call.body)
        self._check(change, group["pk"])
        self._write(group["pk"], change, change.model_fields_set)
        self._record("model_updated", call, group["pk"], group["name"])
        return JSONResponse(self._records.group(self._row(group["pk"])))

    def _remove(self, call: Call) -> Response:
        group = self._row(call.path["pk"])
        self._store.execute("DELETE FROM groups WHERE pk = ?", (group["pk"],))
        self._record("model_deleted", call, group["pk"], group["name"])
        return Response(status_code=204)

    def _add_user(self, call: Call) -> Response:
        group, user = self._row(call.path["pk"]), self._member(call)
        if not self._directory.is_member(user, group["pk"]):
            self._directory.add_membership(user, group["pk"])
            self._record("model_updated", call, group["pk"], group["name"])
        return Response(status_code=204)

    def _remove_user(self, call: Call) -> Response:
        group, user = self._row(call.path["pk"]), self._member(call)
        if self._directory.is_member(user, group["pk"]):
            self._directory.remove_membership(user, group["pk"])
            self._record("model_updated", call, group["pk"], group["name"])
        return Response(status_code=204)

    def _member(self, call: Call) -> User:
        user = self._directory.user_with_pk(parse(Member, call.body).pk)
        if user is None:
            raise detail(404, "Not found.")
        return user

    def _check(self, change: GroupChange, own_pk: str) -> None:
        """Raises ApiError 400 for what only the store can judge. `own_pk` is empty for a new group."""
        if "name" in change.model_fields_set:
            holder = self._directory.group_named(change.name)
            if holder is not None and holder != own_pk:
                raise wrong("name", TAKEN)
        for parent in change.parents:
            if str(parent) == own_pk:
                raise wrong("parents", "Cannot set group as parent of itself.")
            if self._store.execute("SELECT 1 FROM groups WHERE pk = ?", (str(parent),)).fetchone() is None:
                raise no_such("parents", parent)
        for member in change.users:
            if self._directory.user_with_pk(member) is None:
                raise no_such("users", member)
        for role in change.roles:
            raise no_such("roles", role)

    def _write(self, pk: str, change: GroupChange, fields: set[str]) -> None:
        if "name" in fields:
            self._store.execute("UPDATE groups SET name = ? WHERE pk = ?", (change.name, pk))
        if "is_superuser" in fields:
            self._store.execute("UPDATE groups SET is_superuser = ? WHERE pk = ?", (change.is_superuser, pk))
        if "attributes" in fields:
            self._store.execute("UPDATE groups SET attributes = ? WHERE pk = ?", (json.dumps(change.attributes), pk))
        if "users" in fields:
            self._replace("memberships", "user_pk", pk, change.users)
        if "parents" in fields:
            self._replace("group_parents", "parent_pk", pk, tuple(map(str, change.parents)))

    def _replace(self, table: str, column: str, pk: str, values: tuple[object, ...]) -> None:
        self._store.execute(f"DELETE FROM {table} WHERE group_pk = ?", (pk,))
        for value in values:
            self._store.execute(f"INSERT OR IGNORE INTO {table} (group_pk, {column}) VALUES (?, ?)", (pk, value))

    def _row(self, pk: str) -> sqlite3.Row:
        try:
            text = str(UUID(pk))
        except ValueError:
            raise detail(404, "Not found.") from None
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM groups WHERE pk = ?", (text,)).fetchone()
        if row is None:
            raise not_found("Group")
        return row

    def _record(self, action: Action, call: Call, pk: str, name: str) -> None:
        about = {"model": model("authentik_core", "group", pk, name)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def _with_users(call: Call) -> bool:
    return call.query.get("include_users", "true").lower() == "true"
