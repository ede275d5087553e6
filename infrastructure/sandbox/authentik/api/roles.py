"""`/rbac/`: roles, the permissions that there are, what each role has of them, and what it gets of new objects."""

import json
import sqlite3
from uuid import UUID, uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import TAKEN, Body, Required, RowId, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import ApiError, Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model
from infrastructure.sandbox.authentik.permissions import Permissions

ROLES = Listing("roles", searched=("name",), order=("name", "pk"), unique="pk")
PERMISSIONS = Listing("permissions", searched=("codename", "name"), order=("name", "codename", "id"), unique="id")
INITIAL = Listing("initial_permissions", searched=("name",), order=("name", "pk"), unique="pk")


class NamedRole(Body):
    name: Required


class Member(Body):
    pk: RowId


class Assignment(Body):
    """Permissions as `app_label.codename`; for one object only they cannot be given here."""

    permissions: tuple[Required, ...]


class InitialChange(Body):
    name: Required = ""
    role: UUID | None = None
    permissions: tuple[RowId, ...] = ()


class NewInitial(InitialChange):
    name: Required
    role: UUID


class Roles:
    """The resources of access control."""

    def __init__(self, store: sqlite3.Connection, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._permissions = Permissions(store)

    def routes(self, gate: Gate) -> list[Route]:
        assigned = "/rbac/permissions/assigned_by_roles/{pk}/"
        return [
            gate.route("/rbac/roles/", get=self._list, post=self._create),
            gate.route("/rbac/roles/{pk}/", get=self._read, delete=self._remove),
            gate.route("/rbac/roles/{pk}/add_user/", post=self._add_user),
            gate.route("/rbac/roles/{pk}/remove_user/", post=self._remove_user),
            gate.route("/rbac/permissions/", get=self._list_permissions),
            gate.route(assigned + "assign/", post=self._assign),
            gate.route(assigned + "unassign/", patch=self._unassign),
            gate.route("/rbac/initial_permissions/", get=self._list_initial, post=self._create_initial),
            gate.route("/rbac/initial_permissions/{pk}/", patch=self._change_initial),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name")
        if user := call.query.get("users"):
            selection.where("pk IN (SELECT role_pk FROM user_roles WHERE CAST(user_pk AS TEXT) = ?)", user)
        return selection.page(self._store, ROLES, _role)

    def _create(self, call: Call) -> Response:
        name = parse(NamedRole, call.body).name
        if self._store.execute("SELECT 1 FROM roles WHERE name = ?", (name,)).fetchone():
            raise wrong("name", TAKEN)
        pk = str(uuid4())
        self._store.execute("INSERT INTO roles (pk, name) VALUES (?, ?)", (pk, name))
        self._record("model_created", call, pk, name)
        return JSONResponse({"pk": pk, "name": name}, 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(_role(self._row(call)))

    def _remove(self, call: Call) -> Response:
        row = self._row(call)
        self._store.execute("DELETE FROM roles WHERE pk = ?", (row["pk"],))
        self._record("model_deleted", call, row["pk"], row["name"])
        return Response(status_code=204)

    def _add_user(self, call: Call) -> Response:
        return self._membership(call, "INSERT OR IGNORE INTO user_roles (role_pk, user_pk) VALUES (?, ?)")

    def _remove_user(self, call: Call) -> Response:
        return self._membership(call, "DELETE FROM user_roles WHERE role_pk = ? AND user_pk = ?")

    def _membership(self, call: Call, statement: str) -> Response:
        row, user = self._row(call), parse(Member, call.body).pk
        if not self._store.execute("SELECT 1 FROM users WHERE pk = ?", (user,)).fetchone():
            raise detail(404, "Not found.")
        self._store.execute(statement, (row["pk"], user))
        self._record("model_updated", call, row["pk"], row["name"])
        return Response(status_code=204)

    def _list_permissions(self, call: Call) -> Response:
        """With `role=` those that the role has for all objects of their model."""
        selection = Selection(call.query)
        selection.equal("codename")
        for name, column in (("content_type__app_label", "app_label"), ("content_type__model", "model")):
            if value := call.query.get(name):
                selection.where(f"{column} = ?", value)
        if role := call.query.get("role"):
            selection.where(
                "id IN (SELECT permission FROM role_permissions WHERE role_pk = ? AND object_pk = '')", role
            )
        return selection.page(self._store, PERMISSIONS, _permission)

    def _assign(self, call: Call) -> Response:
        row, numbers = self._row(call), self._numbers(call)
        given = [self._permissions.give(row["pk"], number) for number in numbers]
        self._record("model_updated", call, row["pk"], row["name"])
        return JSONResponse([{"id": str(number)} for number in given])

    def _unassign(self, call: Call) -> Response:
        row = self._row(call)
        for number in self._numbers(call):
            statement = "DELETE FROM role_permissions WHERE role_pk = ? AND permission = ? AND object_pk = ''"
            self._store.execute(statement, (row["pk"], number))
        self._record("model_updated", call, row["pk"], row["name"])
        return Response(status_code=204)

    def _numbers(self, call: Call) -> list[int]:
        numbers = []
        for permission in parse(Assignment, call.body).permissions:
            number = self._permissions.number_of(permission)
            if number is None:
                raise ApiError(400, {"permissions": f"Unknown permission {permission}"})
            numbers.append(number)
        return numbers

    def _list_initial(self, call: Call) -> Response:
        selection = Selection(call.query)
        selection.equal("name")
        return selection.page(self._store, INITIAL, self._initial)

    def _create_initial(self, call: Call) -> Response:
        new = parse(NewInitial, call.body)
        if self._store.execute("SELECT 1 FROM initial_permissions WHERE name = ?", (new.name,)).fetchone():
            raise wrong("name", TAKEN)
        self._check_initial(new)
        values = (new.name, str(new.role), json.dumps(new.permissions))
        row = self._store.execute(
            "INSERT INTO initial_permissions (name, role_pk, permissions) VALUES (?, ?, ?) RETURNING *", values
        ).fetchone()
        return JSONResponse(self._initial(row), 201)

    def _change_initial(self, call: Call) -> Response:
        statement = "SELECT * FROM initial_permissions WHERE CAST(pk AS TEXT) = ?"
        row = self._store.execute(statement, (call.path["pk"],)).fetchone()
        if row is None:
            raise not_found("InitialPermissions")
        change = parse(InitialChange, call.body)
        self._check_initial(change)
        values = {"name": change.name, "role": str(change.role), "permissions": json.dumps(change.permissions)}
        for name in change.model_fields_set:
            column = "role_pk" if name == "role" else name
            update = f"UPDATE initial_permissions SET {column} = ? WHERE pk = ?"
            self._store.execute(update, (values[name], row["pk"]))
        return JSONResponse(self._initial(self._store.execute(statement, (str(row["pk"]),)).fetchone()))

    def _check_initial(self, change: InitialChange) -> None:
        known = "SELECT 1 FROM roles WHERE pk = ?"
        if change.role is not None and not self._store.execute(known, (str(change.role),)).fetchone():
            raise no_such("role", change.role)
        for number in change.permissions:
            if not self._store.execute("SELECT 1 FROM permissions WHERE id = ?", (number,)).fetchone():
                raise no_such("permissions", number)

    def _initial(self, row: sqlite3.Row) -> dict[str, object]:
        numbers: list[int] = json.loads(row["permissions"])
        marks = ", ".join("?" * len(numbers))
        rows = self._store.execute(f"SELECT * FROM permissions WHERE id IN ({marks})", numbers)
        shown = [_permission(each) for each in rows]
        own = {"pk": row["pk"], "name": row["name"], "role": row["role_pk"]}
        return {**own, "permissions": numbers, "permissions_obj": shown}

    def _row(self, call: Call) -> sqlite3.Row:
        try:
            pk = str(UUID(call.path["pk"]))
        except ValueError:
            raise detail(404, "Not found.") from None
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM roles WHERE pk = ?", (pk,)).fetchone()
        if row is None:
            raise not_found("Role")
        return row

    def _record(self, action: Action, call: Call, pk: str, name: str) -> None:
        about = {"model": model("authentik_rbac", "role", pk, name)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def _role(row: sqlite3.Row) -> dict[str, object]:
    return {"pk": row["pk"], "name": row["name"]}


def _permission(row: sqlite3.Row) -> dict[str, object]:
    own = {name: row[name] for name in ("id", "name", "codename", "model", "app_label")}
    words = row["app_label"].removeprefix("authentik_").replace("_", " ")
    return {**own, "app_label_verbose": f"authentik {words}", "model_verbose": row["model"]}
