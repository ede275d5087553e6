"""Stalwart's management, which is JMAP (RFC 8620) with objects of its own (``x:Account`` and others). Source: 0.16.

HTTP 200 says nothing: an object that was refused is in ``notCreated`` or ``notUpdated``, a call in ``error``.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from services.tenant.patience import Patience
from services.tenant.provisioning.remote import RemoteAway, RemoteBusy, RemoteDenied, RemoteRefused, refusal_of
from shared.http_client import HttpClient, RemoteUnavailable

DEADLINE = timedelta(seconds=5)
OBJECTS = 500
"""Objects in a get, and ids in a page of a query."""
MAX_PAGES = 400
AT_ONCE = 3
"""It answers four requests of one account at once, and refuses the fifth; one is left to others."""
USING = ("urn:ietf:params:jmap:core", "urn:stalwart:jmap")

Body = dict[str, Any]


class Jmap:
    """Calls one instance under one API key; every call has a deadline of its own. ``base_url`` is its root."""

    def __init__(self, base_url: str, api_key: str, *, deadline: timedelta = DEADLINE) -> None:
        headers = {"authorization": f"Bearer {api_key}", "accept": "application/json"}
        self._http = HttpClient(base_url, deadline=deadline, headers=headers)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._patience = Patience(RemoteBusy)

    async def close(self) -> None:
        await self._http.close()

    async def query(self, kind: str, **only: str) -> list[str]:
        """Return the ids of the objects that answer to all filters."""
        found: list[str] = []
        for _ in range(MAX_PAGES):
            window = {"filter": only, "position": len(found), "limit": OBJECTS}
            ids = _member(await self._call(f"x:{kind}/query", window), "ids", list)
            found += ids
            if len(ids) < OBJECTS:
                return found
        raise RemoteAway(f"more than {MAX_PAGES * OBJECTS} objects answer to one filter")

    async def get(self, kind: str, ids: list[str]) -> list[Body]:
        """Return those of the objects that exist."""
        found: list[Body] = []
        for start in range(0, len(ids), OBJECTS):
            answer = await self._call(f"x:{kind}/get", {"ids": ids[start : start + OBJECTS]})
            found += _member(answer, "list", list)
        return found

    async def create(self, kind: str, body: Body) -> str:
        """Return the id of a new object.

        Raises:
            RemoteRefused: its ``kind`` is the type of the SetError, ``primaryKeyViolation`` for a duplicate.
        """
        answer = await self._call(f"x:{kind}/set", {"create": {"new": body}})
        made = (answer.get("created") or {}).get("new")
        if isinstance(made, dict) and isinstance(made.get("id"), str):
            return str(made["id"])
        raise _refused(answer.get("notCreated"), "new")

    async def update(self, kind: str, identity: str, patch: Body) -> None:
        """Change members of an object, by JSON pointer.

        Raises:
            RemoteRefused
        """
        answer = await self._call(f"x:{kind}/set", {"update": {identity: patch}})
        if identity not in (answer.get("updated") or {}):
            raise _refused(answer.get("notUpdated"), identity)

    async def destroy(self, kind: str, ids: list[str]) -> dict[str, RemoteRefused]:
        """Destroy objects; return the refusals by id. What is gone already is no refusal."""
        refusals: dict[str, RemoteRefused] = {}
        for start in range(0, len(ids), OBJECTS):
            wanted = ids[start : start + OBJECTS]
            answer = await self._call(f"x:{kind}/set", {"destroy": wanted})
            done = set(answer.get("destroyed") or ())
            for identity in wanted:
                if identity in done:
                    continue
                refusal = _refused(answer.get("notDestroyed"), identity)
                if isinstance(refusal, RemoteAway):
                    raise refusal
                if refusal.kind != "notFound":
                    refusals[identity] = refusal
        return refusals

    async def _call(self, method: str, arguments: Body) -> Body:
        with self._patience.kept():
            return await self._answer(method, arguments)

    async def _answer(self, method: str, arguments: Body) -> Body:
        envelope = {"using": USING, "methodCalls": [[method, arguments, "0"]]}
        try:
            async with self._slots:
                answer = await self._http.request("POST", "/jmap", json=envelope)
        except RemoteUnavailable as error:
            raise RemoteAway(error.detail) from error
        try:
            body = answer.json() if answer.content else {}
        except ValueError:
            body = {}
        if not answer.is_success:
            raise refusal_of(answer) or _request_error(answer.status_code, body)
        try:
            ((name, result, _),) = body["methodResponses"]
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteAway("its answer is no JMAP response") from error
        if name == "error":
            kind = str(result.get("type", "error"))
            raise RemoteDenied("the API key may not do this") if kind == "forbidden" else RemoteRefused(kind)
        return dict(result)


def _request_error(status: int, body: Any) -> RemoteAway | RemoteBusy | RemoteRefused:
    kind = str(body.get("type", "")).rpartition(":")[2] if isinstance(body, dict) else ""
    if kind == "limit":
        return RemoteBusy("too many of our requests at once")
    return RemoteRefused(kind) if kind else RemoteAway(f"it answered {status}")


def _refused(refusals: Any, name: str) -> RemoteRefused | RemoteAway:
    refusal = refusals.get(name) if isinstance(refusals, dict) else None
    if not isinstance(refusal, dict):
        return RemoteAway("its answer does not say what became of the object")
    about = [*map(str, refusal.get("properties") or ()), *sorted({*map(_linked, refusal.get("linkedObjects") or ())})]
    return RemoteRefused(str(refusal.get("type", "unknown")), ", ".join(about))


def _linked(target: Any) -> str:
    return str(target.get("object", "object")) if isinstance(target, dict) else "object"


def _member(answer: Body, name: str, kind: type[list[Any]]) -> list[Any]:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise RemoteAway(f"its answer has no {name}")
    return value
