"""Authentik's administration API (``/api/v3``), as much of it as people need.

    AuthentikError            whatever went wrong; for a caller of ours that is a 503
    ├── AuthentikAway         no answer in time, a 5xx, or an answer that is none of Authentik's
    ├── AuthentikBusy         429; ``retry_after`` says when; nobody here calls before
    ├── AuthentikDenied       403: the token is bad or may not do this (Authentik has no 401)
    ├── AuthentikMissing      404: the object of the call is gone
    └── AuthentikRejected     400: ``fields`` maps each field to its complaints; duplicates are among them

Nothing in that API is idempotent: a create that is repeated is a 400, and an e-mail address is not unique. Therefore
callers look up before they create. Source: schema 2026.8.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from services.tenant.patience import Patience
from shared.errors import Unavailable
from shared.http_client import HttpClient, RemoteUnavailable

M = TypeVar("M", bound=BaseModel)

DEADLINE = timedelta(seconds=3)
PAGE_SIZE = 100
MAX_PAGES = 50
RETRY_AFTER_AT_MOST = 300


class AuthentikError(Unavailable):
    code, title = "authentik_unavailable", "The identity provider cannot do this now"


class AuthentikAway(AuthentikError):
    """The effect of the call is unknown."""


class AuthentikBusy(AuthentikError):
    code = "authentik_busy"


class AuthentikDenied(AuthentikError):
    code = "authentik_denied"


class AuthentikMissing(AuthentikError):
    code = "authentik_missing"


class AuthentikRejected(AuthentikError):
    code = "authentik_rejected"

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__(f"it refused: {', '.join(sorted(fields)) or 'the request'}")
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Account:
    """A user of Authentik.

    Attributes:
        pk: names the user in URLs. uid: the subject of the user's tokens.
        groups: UUIDs. person: the person of ours that the account was made for, as its attributes say.
        ordinary: a human's account without power over Authentik itself.
    """

    pk: int
    uid: str
    username: str
    email: str
    is_active: bool
    groups: tuple[str, ...]
    person: str | None
    ordinary: bool


class _User(BaseModel):
    pk: int
    uid: str
    username: str
    email: str
    is_active: bool
    is_superuser: bool = False
    type: str = "internal"
    groups: list[str]
    attributes: dict[str, Any] = {}


class _Group(BaseModel):
    pk: str
    name: str


class Authentik:
    """Calls one instance under one API token; every call has a deadline of its own.

    ``base_url`` is the root of Authentik, without ``/api/v3``. Ids of groups are remembered.
    """

    def __init__(self, base_url: str, token: str, *, deadline: timedelta = DEADLINE, transport: Any = None) -> None:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._http = HttpClient(
            f"{base_url.rstrip('/')}/api/v3/", deadline=deadline, headers=headers, transport=transport
        )
        self._group_ids: dict[str, str] = {}
        self._patience = Patience(AuthentikBusy)

    async def close(self) -> None:
        await self._http.close()

    async def account(self, pk: int) -> Account | None:
        """Return one user."""
        try:
            return account_from(await self.call("GET", f"core/users/{pk}/"))
        except AuthentikMissing:
            return None

    async def accounts(self, *, username: str | None = None, email: str | None = None) -> list[Account]:
        """Return the users with exactly this user name or this address, case included."""
        only = {name: value for name, value in (("username", username), ("email", email)) if value is not None}
        return [account_from(row) for row in await self.rows("core/users/", only)]

    async def create_account(self, username: str, name: str, person: str) -> Account:
        """Create a human's account without a credential, marked as made for ``person``.

        Raises:
            AuthentikRejected: the user name is taken (``fields["username"]``); look it up again.
        """
        body = {
            "username": username,
            "name": name,
            "email": username,
            "type": "internal",
            "is_active": True,
            "attributes": {"dezky": {"person": person}},
        }
        return account_from(await self.call("POST", "core/users/", json=body))

    async def remove_account(self, pk: int) -> None:
        """Delete a user with sessions and tokens; one that is gone is gone."""
        await self._remove(f"core/users/{pk}/")

    async def remove_group(self, pk: str) -> None:
        """Delete a group; its members stay. One that is gone is gone."""
        await self._remove(f"core/groups/{pk}/")

    async def _remove(self, path: str) -> None:
        with contextlib.suppress(AuthentikMissing):
            await self.call("DELETE", path)

    async def set_active(self, pk: int, *, active: bool) -> None:
        """Enable or disable an account; disabling ends its sessions."""
        await self.call("PATCH", f"core/users/{pk}/", json={"is_active": active})

    async def recovery_link(self, pk: int) -> str | None:
        """Return a link with which the user chooses a password, or None if there is no recovery flow."""
        try:
            answer = await self.call("POST", f"core/users/{pk}/recovery/", json={})
        except AuthentikRejected as refusal:
            if "non_field_errors" in refusal.fields:
                return None
            raise
        link = answer.get("link") if isinstance(answer, dict) else None
        if not isinstance(link, str) or not link:
            raise AuthentikAway("its answer holds no link")
        return link

    async def set_password(self, pk: int, password: str) -> None:
        """Give the user this password; Authentik applies no policy here."""
        await self.call("POST", f"core/users/{pk}/set_password/", json={"password": password})

    async def group_id(self, name: str) -> str:
        """Return the id of the group of this name, created if there is none."""
        known = self._group_ids.get(name)
        if known is None:
            known = await self._find_group(name) or await self._create_group(name)
            self._group_ids[name] = known
        return known

    async def join(self, pk: int, group: str) -> None:
        """Make the user a member of the group of this name; joining twice is joining once."""
        await self._membership(pk, group, "add_user")

    async def leave(self, pk: int, group: str) -> None:
        """End the user's membership; leaving a group that one is not in is no error."""
        await self._membership(pk, group, "remove_user")

    async def _membership(self, pk: int, group: str, verb: str) -> None:
        try:
            await self.call("POST", f"core/groups/{await self.group_id(group)}/{verb}/", json={"pk": pk})
        except AuthentikMissing:
            # Either is gone. A group that was removed and made again has another id.
            self._group_ids.pop(group, None)
            await self.call("POST", f"core/groups/{await self.group_id(group)}/{verb}/", json={"pk": pk})

    async def _find_group(self, name: str) -> str | None:
        rows = await self.rows("core/groups/", {"name": name, "include_users": "false"})
        groups = [_parsed(_Group, row) for row in rows]
        return next((group.pk for group in groups if group.name == name), None)

    async def _create_group(self, name: str) -> str:
        try:
            return _parsed(_Group, await self.call("POST", "core/groups/", json={"name": name})).pk
        except AuthentikRejected:
            made_meanwhile = await self._find_group(name)
            if made_meanwhile is None:
                raise
            return made_meanwhile

    async def rows(self, path: str, only: dict[str, str], *, pages: int = MAX_PAGES) -> list[Any]:
        """Return all rows of a list, page after page; ``pages`` bounds a list that does not end.

        A page past the end is 404: while it is read, a list may become shorter.
        """
        found: list[Any] = []
        page = 1
        for _ in range(pages):
            query = {**only, "page": str(page), "page_size": str(PAGE_SIZE)}
            try:
                answer = await self.call("GET", path, params=query)
            except AuthentikMissing:
                if page == 1:
                    raise
                return found
            try:
                found += answer["results"]
                page = answer["pagination"]["next"]
            except (KeyError, TypeError) as error:
                raise AuthentikAway("its answer is no page") from error
            if not page:
                return found
        raise AuthentikAway(f"more than {pages} pages match an exact filter")

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """Return the JSON of an answer to a call below ``/api/v3/``, or None if it has no body.

        Raises:
            AuthentikError: one of its kinds.
        """
        with self._patience.kept():
            try:
                answer = await self._http.request(method, path, **more)
            except RemoteUnavailable as error:
                raise AuthentikAway(error.detail) from error
            if answer.is_success:
                return _json(answer) if answer.content else None
            raise _error_of(answer)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise AuthentikAway("its answer is no JSON") from error


def _error_of(answer: httpx.Response) -> AuthentikError:
    status = answer.status_code
    if status == 429:
        text = answer.headers.get("retry-after", "")
        seconds = int(text) if text.isascii() and text.isdigit() else 1
        return AuthentikBusy("it asks for patience", retry_after=min(max(seconds, 1), RETRY_AFTER_AT_MOST))
    if status in {401, 403}:
        return AuthentikDenied("it refuses the API token: look at TENANT_AUTHENTIK_TOKEN and its permissions")
    if status == 404:
        return AuthentikMissing("the object of the call is gone")
    if status == 400:
        return AuthentikRejected(_complaints(_json(answer)))
    return AuthentikAway(f"it answered {status}")


def _complaints(body: Any) -> dict[str, list[str]]:
    """Flatten a field map; values are lists, nested maps or, for a missing recovery flow, a bare string."""
    found: dict[str, list[str]] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for inner in value:
                walk(path, inner)
        else:
            found.setdefault(path, []).append(str(value))

    walk("", body)
    return found


def _parsed(model: type[M], row: Any) -> M:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        raise AuthentikAway(f"its answer is no {model.__name__.strip('_').lower()}") from error


def account_from(row: Any) -> Account:
    """Parse a user as the API shows it."""
    user = _parsed(_User, row)
    mark = user.attributes.get("dezky")
    person = mark.get("person") if isinstance(mark, dict) else None
    return Account(
        pk=user.pk,
        uid=user.uid,
        username=user.username,
        email=user.email,
        is_active=user.is_active,
        groups=tuple(user.groups),
        person=person if isinstance(person, str) else None,
        ordinary=user.type in {"internal", "external"} and not user.is_superuser,
    )
