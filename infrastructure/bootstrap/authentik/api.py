"""Calls of Authentik's administration API (`/api/v3`), as a superuser. Source: schema 2026.8.

Nothing in that API is idempotent and a duplicate is a 400, so whoever makes something looks first.
"""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

import httpx

from infrastructure.bootstrap.reports import ByHand, NotReady

_DEADLINE_SECONDS = 10.0
_POLL_SECONDS = 0.3
_PAGE_SIZE = 100
_MOST_PAGES = 50


class Authentik:
    """One instance under one API token; every call ends after ten seconds. For `async with`.

    `transport` is what calls go through, for an instance in this process; None means the network.
    """

    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._http = self._client(token)

    def _client(self, token: str) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        base = f"{self._url}/api/v3/"
        return httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=_DEADLINE_SECONDS,
            transport=self._transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def wait(self, seconds: float) -> None:
        """Wait until it is ready and knows the token: a fresh install makes that a while after it answers.

        Raises:
            NotReady: not within `seconds`. ByHand: the token is known, but not a superuser's.
        """
        deadline = time.monotonic() + seconds
        while True:
            problem, user = await self._who()
            if user is not None:
                break
            if time.monotonic() > deadline:
                raise NotReady(
                    f"Authentik at {self._url} is not ready: {problem}",
                    "Look at the log of its server and worker, and at BOOTSTRAP_AUTHENTIK_TOKEN",
                )
            await asyncio.sleep(_POLL_SECONDS)
        if not user.get("is_superuser"):
            raise ByHand(
                f"BOOTSTRAP_AUTHENTIK_TOKEN is of {user.get('username')}, who is no superuser of Authentik",
                "Give the token that Authentik was started with as AUTHENTIK_BOOTSTRAP_TOKEN",
            )

    async def _who(self) -> tuple[str, dict[str, Any] | None]:
        try:
            answer = await self._http.get("core/users/me/")
            if answer.status_code == httpx.codes.OK:
                return "", answer.json()["user"]
        except (httpx.HTTPError, ValueError, KeyError) as failed:
            return f"{type(failed).__name__} {failed}", None
        said = "it does not know the token" if answer.status_code == httpx.codes.FORBIDDEN else "it starts"
        return f"{said} ({answer.status_code})", None

    async def holder_of(self, token: str) -> str | None:
        """The user name of whoever this API token belongs to; None for a token that opens nothing."""
        async with self._client(token) as other:
            answer = await other.get("core/users/me/")
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return None
        user = self._json("GET", "core/users/me/", answer)["user"]
        return str(user["username"])

    async def find(self, path: str) -> dict[str, Any] | None:
        """An object by its own path; None when there is none."""
        answer = await self._http.get(path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found: dict[str, Any] = self._json("GET", path, answer)
        return found

    async def one(self, path: str, **only: str) -> dict[str, Any] | None:
        """The object of a list for which all of `only` holds exactly; None when there is none."""
        rows = await self.rows(path, **only)
        return next((row for row in rows if all(str(row.get(name)) == value for name, value in only.items())), None)

    async def rows(self, path: str, **only: str) -> list[dict[str, Any]]:
        """All rows of a list, page after page."""
        rows: list[dict[str, Any]] = []
        page = 1
        for _ in range(_MOST_PAGES):
            query = {**only, "page": str(page), "page_size": str(_PAGE_SIZE)}
            answer = self._json("GET", path, await self._http.get(path, params=query))
            rows += answer["results"]
            page = answer["pagination"]["next"]
            if not page:
                return rows
        raise NotReady(f"Authentik's list {path} does not end", "Run again")

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call that changes something; returns what it says. Raises ByHand when it is refused."""
        return self._json(method, path, await self._http.request(method, path, json=body))

    def _json(self, method: str, path: str, answer: httpx.Response) -> Any:
        if answer.is_success:
            return answer.json() if answer.content else None
        if answer.is_server_error:
            said = f"Authentik answered {method} {path} with {answer.status_code}"
            raise NotReady(said, "Look at its log, then run again")
        # The names of the fields are enough; what is said of one may repeat its value.
        try:
            fields = ", ".join(answer.json())
        except ValueError:
            fields = "no reason"
        raise ByHand(
            f"Authentik refuses {method} {path} with {answer.status_code}: {fields}",
            "Look for an object of that name that somebody made by hand, and rename or remove it",
        )
