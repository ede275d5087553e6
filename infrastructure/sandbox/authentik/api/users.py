"""`/core/users/`."""

import json
import re
import sqlite3
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrastructure.sandbox.authentik.api.fields import (
    TAKEN,
    Attributes,
    Body,
    Email,
    Path,
    Required,
    Text,
    Username,
    no_such,
    parse,
    wrong,
)
from infrastructure.sandbox.authentik.api.gate import ApiError, Call, Gate, detail, not_found
from infrastructure.sandbox.authentik.api.lists import Listing, Selection
from infrastructure.sandbox.authentik.api.records import Records
from infrastructure.sandbox.authentik.api_tokens import ApiTokens, NewApiToken
from infrastructure.sandbox.authentik.directory import SUPERUSERS, Directory, User, UserType
from infrastructure.sandbox.authentik.journal import MODELS, Action, Journal, model
from infrastructure.sandbox.authentik.moments import moment, written
from infrastructure.sandbox.authentik.recovery import Recovery
from infrastructure.sandbox.authentik.sessions import Sessions

SERVICE_ACCOUNT_LIFETIME = timedelta(days=360)
TYPES = ("internal", "external", "service_account", "internal_service_account")
LISTING = Listing(
    "users",
    searched=("username", "name", "email", "uuid"),
    order=("username", "pk", "name", "email", "is_active", "path", "type", "date_joined", "last_login", "last_updated"),
    unique="pk",
)
IN_GROUPS = "EXISTS (SELECT 1 FROM memberships WHERE user_pk = users.pk AND group_pk IN ({}))"
COLUMNS = ("username", "name", "email", "is_active", "path", "type")


class UserChange(Body):
    """PATCH. `attributes` and `groups` replace the old ones whole."""

    username: Username = ""
    name: Text = ""
    email: Email = ""
    is_active: bool = True
    path: Path = "users"
    type: UserType = "internal"
    groups: tuple[UUID, ...] = ()
    roles: tuple[UUID, ...] = ()
    attributes: Attributes = Field(default_factory=dict)


class NewUser(UserChange):
    """POST. The name may be empty, but has to be said."""

    username: Username
    name: Text


class NewServiceAccount(Body):
    name: Required
    create_group: bool = False
    expiring: bool = True
    expires: AwareDatetime | None = None


class NewPassword(Body):
    password: Required


class RecoveryRequest(Body):
    token_duration: Required = "minutes=30"


class Users:
    """The users resource. Losing `is_active` ends the user's sessions and tokens."""

    def __init__(
        self, store: sqlite3.Connection, directory: Directory, sessions: Sessions, recovery: Recovery, journal: Journal
    ) -> None:
        self._store = store
        self._directory = directory
        self._sessions = sessions
        self._recovery = recovery
        self._journal = journal
        self._records = Records(store, directory)
        self._tokens = ApiTokens(store)

    def routes(self, gate: Gate) -> list[Route]:
        return [
            gate.route("/core/users/", get=self._list, post=self._create),
            gate.route("/core/users/me/", get=self._me),
            gate.route("/core/users/service_account/", post=self._create_service_account),
            gate.route("/core/users/{pk}/", get=self._read, patch=self._change, delete=self._remove),
            gate.route("/core/users/{pk}/set_password/", post=self._set_password),
            gate.route("/core/users/{pk}/recovery/", post=self._recover),
        ]

    def _list(self, call: Call) -> Response:
        query = call.query
        selection = Selection(query)
        selection.equal("email", "username", "name", "path")
        selection.uuid("uuid")
        selection.true_or_false("is_active", "is_active")
        selection.true_or_false("is_superuser", f"users.pk IN ({SUPERUSERS})")
        selection.after("last_updated__gt", "last_updated")
        selection.attributes()
        if query.get("path_startswith"):
            start = query["path_startswith"]
            selection.where("substr(path, 1, ?) = ?", len(start), start)
        self._by_type(selection, query)
        self._by_group(selection, query, "groups_by_name", "name")
        self._by_group(selection, query, "groups_by_pk", "pk")
        whole = query.get("include_groups", "true").lower() != "false"
        return selection.page(self._store, LISTING, lambda row: self._records.user(row, include_groups=whole))

    def _by_type(self, selection: Selection, query: QueryParams) -> None:
        kinds = query.getlist("type")
        for kind in kinds:
            if kind not in TYPES:
                raise wrong("type", f"Select a valid choice. {kind} is not one of the available choices.")
        if kinds:
            selection.where(f"type IN ({', '.join('?' * len(kinds))})", *kinds)

    def _by_group(self, selection: Selection, query: QueryParams, name: str, column: Literal["name", "pk"]) -> None:
        """Members of any of the groups; a group that does not exist is an error, not an empty list."""
        pks = []
        for value in query.getlist(name):
            wanted = _uuid_text(value, name) if column == "pk" else value
            row = self._store.execute(f"SELECT pk FROM groups WHERE {column} = ?", (wanted,)).fetchone()
            if row is None:
                raise wrong(name, f"Select a valid choice. {value} is not one of the available choices.")
            pks.append(row["pk"])
        if pks:
            selection.where(IN_GROUPS.format(", ".join("?" * len(pks))), *pks)

    def _create(self, call: Call) -> Response:
        new = parse(NewUser, call.body)
        if new.type == "internal_service_account":
            raise wrong("type", "Setting a user to internal service account is not allowed.")
        self._check(new, None)
        user = self._directory.add_user(new.username, new.name, new.email, kind=new.type, path=new.path)
        self._write(user, new, {"is_active", "attributes", "groups", "roles"})
        self._record("model_created", call, user)
        return JSONResponse(self._shown(user.pk), 201)

    def _create_service_account(self, call: Call) -> Response:
        """A service account with an app password of its own: this takes no superuser, as other ways to one do."""
        new = parse(NewServiceAccount, call.body)
        if self._directory.user_named(new.name) is not None:
            raise ApiError(400, {"non_field_errors": ["A user/group with these details already exists"]})
        path = "goauthentik.io/service-accounts"
        user = self._directory.add_user(new.name, new.name, "", kind="service_account", path=path)
        self._record("model_created", call, user)
        said: dict[str, object] = {"username": new.name, "user_uid": user.uid, "user_pk": user.pk}
        if new.create_group:
            said["group_pk"] = self._directory.add_group(new.name)
            self._directory.add_membership(user, str(said["group_pk"]))
        expires = (written(new.expires) if new.expires else moment(SERVICE_ACCOUNT_LIFETIME)) if new.expiring else None
        name = f"service-account-{_slug(new.name)}-password"
        said["token"] = self._tokens.add(NewApiToken(name, "app_password", user.pk, expires), call.actor)["key"]
        return JSONResponse(said)

    def _me(self, call: Call) -> Response:
        assert call.actor is not None
        row = self._store.execute("SELECT * FROM users WHERE pk = ?", (call.actor.pk,)).fetchone()
        return JSONResponse({"user": self._records.myself(row), "users": []})

    def _read(self, call: Call) -> Response:
        return JSONResponse(self._shown(self._user(call).pk))

    def _change(self, call: Call) -> Response:
        user = self._user(call)
        change = parse(UserChange, call.body)
        self._check(change, user)
        self._write(user, change, change.model_fields_set)
        self._record("model_updated", call, user)
        if user.is_active and "is_active" in change.model_fields_set and not change.is_active:
            self._sessions.lock_out(user)
        return JSONResponse(self._shown(user.pk))

    def _remove(self, call: Call) -> Response:
        user = self._user(call)
        self._sessions.lock_out(user)
        self._store.execute("DELETE FROM users WHERE pk = ?", (user.pk,))
        self._record("model_deleted", call, user)
        return Response(status_code=204)

    def _set_password(self, call: Call) -> Response:
        user = self._user(call)
        # The password itself keeps its spaces, which a parsed text would lose.
        parse(NewPassword, call.body)
        self._directory.set_password(user, str(call.body["password"]))
        self._journal.record("password_set", user, call.origin)
        self._record("model_updated", call, user)
        return Response(status_code=204)

    def _recover(self, call: Call) -> Response:
        user = self._user(call)
        asked = parse(RecoveryRequest, call.body)
        flow = self._recovery.flow()
        if flow is None:
            # A string where every other error has a list: so the original has it, and clients must bear it.
            raise ApiError(400, {"non_field_errors": "No recovery flow set."})
        try:
            link = self._recovery.link(user, flow, asked.token_duration)
        except ValueError:
            raise wrong(
                "token_duration", f"{asked.token_duration} is not in the correct format of 'hours=3;minutes=1'."
            ) from None
        return JSONResponse({"link": link})

    def _check(self, change: UserChange, user: User | None) -> None:
        """Raises ApiError 400 for what only the store can judge."""
        if "username" in change.model_fields_set:
            holder = self._directory.user_named(change.username)
            if holder is not None and (user is None or holder.pk != user.pk):
                raise wrong("username", TAKEN)
        for pk in change.groups:
            if self._store.execute("SELECT 1 FROM groups WHERE pk = ?", (str(pk),)).fetchone() is None:
                raise no_such("groups", pk)
        for pk in change.roles:
            if self._store.execute("SELECT 1 FROM roles WHERE pk = ?", (str(pk),)).fetchone() is None:
                raise no_such("roles", pk)

    def _write(self, user: User, change: UserChange, fields: set[str]) -> None:
        values: dict[str, object] = {name: getattr(change, name) for name in COLUMNS if name in fields}
        if "attributes" in fields:
            values["attributes"] = json.dumps(change.attributes)
        values["last_updated"] = moment()
        settings = ", ".join(f"{name} = ?" for name in values)
        self._store.execute(f"UPDATE users SET {settings} WHERE pk = ?", (*values.values(), user.pk))
        if "groups" in fields:
            self._store.execute("DELETE FROM memberships WHERE user_pk = ?", (user.pk,))
            for pk in change.groups:
                self._directory.add_membership(user, str(pk))
        if "roles" in fields:
            self._store.execute("DELETE FROM user_roles WHERE user_pk = ?", (user.pk,))
            for pk in set(change.roles):
                self._store.execute("INSERT INTO user_roles (user_pk, role_pk) VALUES (?, ?)", (user.pk, str(pk)))

    def _user(self, call: Call) -> User:
        number = call.path["pk"]
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise detail(404, "Not found.")
        user = self._directory.user_with_pk(int(number))
        if user is None:
            raise not_found("User")
        return user

    def _shown(self, pk: int) -> dict[str, object]:
        return self._records.user(self._store.execute("SELECT * FROM users WHERE pk = ?", (pk,)).fetchone())

    def _record(self, action: Action, call: Call, user: User) -> None:
        about = {"model": model("authentik_core", "user", user.pk, user.username)}
        self._journal.record(action, call.actor, call.origin, about, MODELS)


def _slug(text: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text.lower())).strip("-_")


def _uuid_text(value: str, name: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise wrong(name, f"\u201c{value}\u201d is not a valid UUID.") from None
