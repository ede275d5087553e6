"""What can go wrong at an integration, and what that means for a condition.

RemoteError               for a caller of ours that is a 503
├── RemoteAway            no answer in time, a 5xx, or an answer that makes no sense
├── RemoteBusy            429; ``retry_after`` says when
├── RemoteDenied          the credential is bad or may not do this
├── RemoteMissing         the object of the call is gone
└── RemoteRefused         the request is wrong in its eyes; ``kind`` says how
NameTaken                 something that is not ours has the name that we need
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import httpx

from services.tenant.authentik import AuthentikBusy, AuthentikDenied, AuthentikRejected
from services.tenant.provisioning.drift.models import Differences
from services.tenant.provisioning.models import Desired, Finding
from shared.errors import Conflict, DomainError, Unavailable

RETRY_AFTER_AT_MOST = 300


class RemoteError(Unavailable):
    code, title = "integration_unavailable", "An integration cannot do this now"


class RemoteAway(RemoteError):
    """The effect of the call is unknown."""


class RemoteBusy(RemoteError):
    code = "integration_busy"


class RemoteDenied(RemoteError):
    code = "integration_denied"


class RemoteMissing(RemoteError):
    code = "integration_missing"


class RemoteRefused(RemoteError):
    code = "integration_refused"

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"it refused: {kind}{f', {detail}' if detail else ''}")
        self.kind = kind


class NameTaken(Conflict):
    code, title = "integration_name_taken", "Something else has the name there"


class Memo:
    """What an integration's part remembers about one tenant: foreign ids, kept before they are relied on.

    Raises, wherever something is kept:
        LeaseLost: another replica works on this tenant now.
    """

    def __init__(self, values: dict[str, Any], save: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._values = values
        self._save = save

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def map(self, name: str) -> dict[str, Any]:
        """Return a copy of a map, empty if there is none."""
        return dict(self._values.get(name) or {})

    def all(self, name: str) -> list[str]:
        """Return a copy of a list, empty if there is none."""
        return list(self._values.get(name) or ())

    async def add(self, name: str, values: Iterable[str]) -> None:
        """Keep ``values`` beside what a list holds, each once and in order."""
        await self.put(name, sorted({*self.all(name), *values}))

    async def put(self, name: str, value: Any) -> None:
        """Keep a value; the same value again costs nothing."""
        if self._values.get(name) != value:
            await self._save({name: value})
            self._values[name] = value

    async def keep(self, name: str, key: str, value: Any) -> None:
        """Keep one entry of a map, whose keys hold no dot: the rest of a large one is not written again."""
        entries = self._values.setdefault(name, {})
        if entries.get(key) != value:
            await self._save({f"{name}.{key}": value})
            entries[key] = value

    async def drop(self, name: str, key: str) -> None:
        """Forget one entry of a map."""
        entries = self._values.get(name) or {}
        if key in entries:
            await self._save({f"{name}.{key}": None})
            del entries[key]


class Backend(Protocol):
    """One integration. ``reconcile`` looks first, so it can be repeated; it raises what keeps it from looking."""

    async def reconcile(self, desired: Desired, memo: Memo, differences: Differences) -> Finding: ...

    async def close(self) -> None: ...


def refusal_of(answer: httpx.Response) -> RemoteError | None:
    """Return the error that any of these APIs means by this status, or None for one that the API itself explains."""
    status = answer.status_code
    if status == 429:
        text = answer.headers.get("retry-after", "")
        seconds = int(text) if text.isascii() and text.isdigit() else 1
        return RemoteBusy("it asks for patience", retry_after=min(max(seconds, 1), RETRY_AFTER_AT_MOST))
    if status in {401, 403}:
        return RemoteDenied("it refuses the credential: look at the setting and its permissions")
    if status >= 500:
        return RemoteAway(f"it answered {status}")
    return None


def finding_of(error: Exception) -> Finding:
    """Return what an error says about an integration.

    Raises:
        the error itself, if it says nothing about one.
    """
    if isinstance(error, TimeoutError):
        return Finding("pending", "Slow", "it takes too long; what was done stays done")
    if not isinstance(error, DomainError):
        raise error
    if isinstance(error, RemoteBusy | AuthentikBusy):
        return Finding("pending", "Busy", error.detail, error.retry_after)
    if isinstance(error, RemoteDenied | AuthentikDenied):
        return Finding("failed", "Denied", error.detail)
    if isinstance(error, NameTaken):
        return Finding("failed", "NameTaken", error.detail)
    if isinstance(error, RemoteRefused | AuthentikRejected):
        return Finding("failed", "Refused", error.detail)
    if isinstance(error, Unavailable):
        return Finding("pending", "Away", error.detail)
    raise error
