"""ownCloud Infinite Scale's libre graph API, as much of it as spaces need. Source: libre-graph-api 1.0.4.

Ids hold ``$`` and ``!`` and are encoded in paths. An object that the token may not see answers 404 like none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from services.tenant.patience import Patience
from services.tenant.provisioning.remote import RemoteAway, RemoteBusy, RemoteMissing, RemoteRefused, refusal_of
from shared.http_client import HttpClient, RemoteUnavailable

DEADLINE = timedelta(seconds=5)
LIST_DEADLINE = timedelta(seconds=30)
LONGEST_LIST = 256 * 1024 * 1024
"""Spaces are listed whole, without pages or a filter by name: about a kilobyte for each of 100,000 and more."""
# Ids of built-in roles, the same in every installation (ocis: services/graph/pkg/unifiedrole).
SPACE_MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
SPACE_EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"

Body = dict[str, Any]


class LibreGraph:
    """Calls one instance under one token; every call has a deadline of its own. ``base_url`` is its root."""

    def __init__(self, base_url: str, token: str, *, deadline: timedelta = DEADLINE) -> None:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        root = f"{base_url.rstrip('/')}/graph/"
        self._http = HttpClient(root, deadline=deadline, headers=headers)
        self._lists = HttpClient(root, deadline=LIST_DEADLINE, headers=headers, max_answer=LONGEST_LIST)
        self._patience = Patience(RemoteBusy)

    async def close(self) -> None:
        await self._http.close()
        await self._lists.close()

    async def spaces(self) -> list[Body]:
        """Return all project spaces, disabled ones included; grows with the number of tenants, so ask seldom."""
        only = {"$filter": "driveType eq 'project'"}
        return _values(await self._call("GET", "v1.0/drives", client=self._lists, params=only))

    async def space(self, identity: str) -> Body | None:
        """Return a space, disabled or not."""
        try:
            return _object(await self._call("GET", f"v1.0/drives/{_encoded(identity)}"))
        except RemoteMissing:
            return None

    async def create_space(self, name: str, description: str, total: int) -> Body:
        """Make a project space; names are not unique, so look first."""
        body = {"name": name, "driveType": "project", "description": description, "quota": {"total": total}}
        return _object(await self._call("POST", "v1.0/drives", json=body))

    async def set_quota(self, identity: str, total: int) -> None:
        await self._call("PATCH", f"v1.0/drives/{_encoded(identity)}", json={"quota": {"total": total}})

    async def set_description(self, identity: str, description: str) -> None:
        await self._call("PATCH", f"v1.0/drives/{_encoded(identity)}", json={"description": description})

    async def purge_space(self, identity: str) -> None:
        """Delete a disabled space with its data.

        Raises:
            RemoteRefused: it is enabled.
        """
        with contextlib.suppress(RemoteMissing):
            await self._call("DELETE", f"v1.0/drives/{_encoded(identity)}", headers={"Purge": "T"})

    async def disable_space(self, identity: str) -> None:
        """Disable a space, with its data in it. On a disabled one without ``Purge`` this changes nothing."""
        await self._call("DELETE", f"v1.0/drives/{_encoded(identity)}")

    async def enable_space(self, identity: str) -> None:
        await self._call("PATCH", f"v1.0/drives/{_encoded(identity)}", json={}, headers={"restore": "true"})

    async def user(self, name: str) -> Body | None:
        """Return a user by name or id."""
        try:
            return _object(await self._call("GET", f"v1.0/users/{_encoded(name)}"))
        except RemoteMissing:
            return None

    async def create_user(self, name: str, display_name: str, mail: str, password: str) -> Body:
        """Make a user before their first sign-in.

        Raises:
            RemoteRefused: ``nameAlreadyExists``, or the name is none.
        """
        body = {
            "displayName": display_name,
            "onPremisesSamAccountName": name,
            "mail": mail,
            "passwordProfile": {"password": password},
            "accountEnabled": True,
        }
        return _object(await self._call("POST", "v1.0/users", json=body))

    async def change_user(self, identity: str, **members: str | bool) -> None:
        """Change members of a user, named as the API names them."""
        await self._call("PATCH", f"v1.0/users/{_encoded(identity)}", json=members)

    async def remove_user(self, identity: str) -> None:
        """Delete a user with their personal space; one that is gone is gone."""
        with contextlib.suppress(RemoteMissing):
            await self._call("DELETE", f"v1.0/users/{_encoded(identity)}")

    async def permissions(self, space: str) -> list[Body]:
        """Return who has which role in a space that is enabled."""
        return _values(await self._call("GET", f"v1beta1/drives/{_encoded(space)}/root/permissions"))

    async def invite(self, space: str, user: str, role: str) -> None:
        """Give a user a role in a space."""
        recipient = {"objectId": user, "@libre.graph.recipient.type": "user"}
        body = {"recipients": [recipient], "roles": [role]}
        await self._call("POST", f"v1beta1/drives/{_encoded(space)}/root/invite", json=body)

    async def change_role(self, space: str, permission: str, role: str) -> None:
        path = f"v1beta1/drives/{_encoded(space)}/root/permissions/{_encoded(permission)}"
        await self._call("PATCH", path, json={"roles": [role]})

    async def revoke(self, space: str, permission: str) -> None:
        await self._call("DELETE", f"v1beta1/drives/{_encoded(space)}/root/permissions/{_encoded(permission)}")

    async def _call(self, method: str, path: str, *, client: HttpClient | None = None, **more: Any) -> Any:
        with self._patience.kept():
            return await self._answer(client or self._http, method, path, **more)

    async def _answer(self, client: HttpClient, method: str, path: str, **more: Any) -> Any:
        try:
            answer = await client.request(method, path, **more)
        except RemoteUnavailable as error:
            raise RemoteAway(error.detail) from error
        try:
            body = answer.json() if answer.content else None
        except ValueError as error:
            if answer.is_success:
                raise RemoteAway("its answer is no JSON") from error
            body = None
        if answer.is_success:
            return body
        if answer.status_code == 404:
            raise RemoteMissing("the object of the call is gone, or not for this token")
        raise refusal_of(answer) or RemoteRefused(_code(body) or str(answer.status_code))


def _encoded(identity: str) -> str:
    return quote(identity, safe="")


def _code(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code", "")) if isinstance(error, Mapping) else ""


def _object(body: Any) -> Body:
    if not isinstance(body, dict) or not isinstance(body.get("id"), str):
        raise RemoteAway("its answer is no object")
    return body


def _values(body: Any) -> list[Body]:
    values = body.get("value") if isinstance(body, dict) else None
    if not isinstance(values, list):
        raise RemoteAway("its answer is no list")
    return values
