"""`/policies/bindings/`: who is admitted to an application, by group or by user. There are no policies here."""

import sqlite3
from uuid import UUID, uuid4

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import Body, RowId, no_such, parse, wrong
from infrastructure.sandbox.authentik.api.gate import ApiError, Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.api.records import Records
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model

LISTING = Listing("bindings", searched=("pk",), order=("target", "position"), unique="pk")
COLUMNS = {
    "group": "group_pk",
    "user": "user_pk",
    "order": "position",
    **{name: name for name in ("negate", "enabled", "timeout", "failure_result")},
}


class BindingChange(Body):
    policy: UUID | None = None
    group: UUID | None = None
    user: RowId | None = None
    negate: bool = False
    enabled: bool = True
    order: int = 0
    timeout: int = Field(30, ge=0)
    failure_result: bool = False


class NewBinding(BindingChange):
    target: UUID
    order: int


class Bindings:
    """The policy bindings resource, addressed by UUID."""

    def __init__(self, store: sqlite3.Connection, directory: Directory, journal: Journal) -> None:
        self._store = store
        self._records = Records(store, directory)
        self._journal = journal

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/policies/bindings/", get=self._list, post=self._create),
            gate.route("/policies/bindings/{pk}/", get=self._read, patch=self._change, delete=self._remove),
        ]

    def _list(self, call: Call) -> Response:
        selection = Selection(call.query)
        if call.query.get("target"):
            self._require_target(call.query["target"], "Select a valid choice. {} is not one of the available choices.")
        selection.uuid("target")
        selection.true_or_false("enabled", "enabled")
        return selection.page(self._store, LISTING, self._shown)

    def _create(self, call: Call) -> Response:
        new = parse(NewBinding, call.body)
        self._require_target(str(new.target), 'Invalid pk "{}" - object does not exist.')
        self._check(new)
        if sum(value is not None for value in (new.policy, new.group, new.user)) != 1:
            several = new.group is not None and new.user is not None
            said = "Only one of 'policy', 'group', 'user' can be set." if several else "One of 'policy', 'group', "
            raise ApiError(400, {"non_field_errors": [said if several else f"{said}'user' must be set."]})
        pk = str(uuid4())
        row = (pk, str(new.target), new.order)
        self._store.execute("INSERT INTO bindings (pk, target, position) VALUES (?, ?, ?)", row)
        self._write(pk, new, new.model_fields_set - {"target", "policy"})
        self._record("model_created", call, pk)
        return JSONResponse(self._shown(self._row(pk)), 201)

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._shown(self._row(call.path["pk"])))

    def _change(self, call: Call) -> Response:
        row = self._row(call.path["pk"])
        change = parse(BindingChange, call.body)
        self._check(change)
        self._write(row["pk"], change, change.model_fields_set - {"policy"})
        self._record("model_updated", call, row["pk"])
        return JSONResponse(self._shown(self._row(row["pk"])))

    def _remove(self, call: Call) -> Response:
        row = self._row(call.path["pk"])
        self._store.execute("DELETE FROM bindings WHERE pk = ?", (row["pk"],))
        self._record("model_deleted", call, row["pk"])
        return Response(status_code=204)

    def _require_target(self, pk: str, problem: str) -> None:
        if not self._store.execute("SELECT 1 FROM applications WHERE pk = ?", (pk,)).fetchone():
            raise wrong("target", problem.format(pk))

    def _check(self, change: BindingChange) -> None:
        if change.policy is not None:
            raise no_such("policy", change.policy)
        for name, table, value in (("group", "groups", change.group), ("user", "users", change.user)):
            wanted = str(value) if name == "group" else value
            found = self._store.execute(f"SELECT 1 FROM {table} WHERE pk = ?", (wanted,)).fetchone()
            if value is not None and not found:
                raise no_such(name, value)

    def _write(self, pk: str, change: BindingChange, names: set[str]) -> None:
        for name, value in change.model_dump(mode="json", include=names).items():
            self._store.execute(f"UPDATE bindings SET {COLUMNS[name]} = ? WHERE pk = ?", (value, pk))

    def _row(self, text: str) -> sqlite3.Row:
        try:
            pk = str(UUID(text))
        except ValueError:
            raise detail(404, "Not found.") from None
        row: sqlite3.Row | None = self._store.execute("SELECT * FROM bindings WHERE pk = ?", (pk,)).fetchone()
        if row is None:
            raise not_found("PolicyBinding")
        return row

    def _shown(self, row: sqlite3.Row) -> dict[str, object]:
        group = self._store.execute("SELECT * FROM groups WHERE pk = ?", (row["group_pk"],)).fetchone()
        user = self._store.execute("SELECT * FROM users WHERE pk = ?", (row["user_pk"],)).fetchone()
        return {
            "pk": row["pk"],
            "policy": None,
            "group": row["group_pk"],
            "user": row["user_pk"],
            "policy_obj": None,
            "group_obj": self._records.brief_group(group) if group else None,
            "user_obj": self._records.brief_user(user) if user else None,
            "target": row["target"],
            **{name: bool(row[name]) for name in ("negate", "enabled", "failure_result")},
            "order": row["position"],
            "timeout": row["timeout"],
            "expires": None,
            "expiring": False,
        }

    def _record(self, action: Action, call: Call, pk: str) -> None:
        about = {"model": model("authentik_policies", "policybinding", pk, f"Binding {pk}")}
        self._journal.record(action, call.actor, call.origin, about, MODELS)
