"""An owner's snapshot: how it is served, and how a projection reads it page by page, however long the owner is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from shared.auth import InternalTokenIssuer
from shared.contracts.envelope import Contract
from shared.errors import Conflict, DomainError
from shared.http_client import HttpClient, RemoteUnavailable
from shared.projections.models import S
from shared.schemas import View

I = TypeVar("I", bound=Contract)  # noqa: E741 - an item

PAGE = 200
DEADLINE = timedelta(seconds=10)
PATIENCE = timedelta(minutes=10)
ROWS_PER_SECOND = 5_000
_LONGEST_PAUSE = 30.0

Say = Callable[[str], None]


class OwnerRefused(Conflict):
    code, title = "owner_refused", "The owner of the data does not give it"


class OwnerAway(DomainError):
    status, code, title = 503, "owner_away", "The owner of the data is away"


class SnapshotView(View, Generic[I]):
    """A page of a snapshot, each item as the ``state`` of the newest event of its aggregate.

    Pages are read one after the other, not at one moment: a reader goes by the version in each item, and learns from
    events what changes behind the page that it reads. An aggregate that is there at the first page is on one of them.
    """

    items: list[I]
    next: str | None


@dataclass(frozen=True, slots=True)
class SnapshotPage(Generic[S]):
    """A page as it was read; ``next`` is None on the last."""

    states: list[S]
    next: str | None


class Owner:
    """The service that owns what projections are made of, at an address from configuration.

    ``patience`` is how long in a row it may be away before a reader gives up.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        issuer: InternalTokenIssuer,
        *,
        patience: timedelta = PATIENCE,
        rows_per_second: float = ROWS_PER_SECOND,
    ) -> None:
        self.name = name
        self._http = HttpClient(base_url, deadline=DEADLINE)
        self._issuer = issuer
        self._patience = patience.total_seconds()
        self._rate = rows_per_second

    async def pages(
        self, snapshot: str, contract: type[S], say: Say, cursor: str | None = None
    ) -> AsyncIterator[SnapshotPage[S]]:
        """Yield a snapshot from ``cursor`` on, each item as ``contract``, no faster than the rate.

        Raises:
            OwnerAway: for longer than the patience; what was read before holds.
            OwnerRefused: it answers, and not with a page.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            body = await self._page(snapshot, cursor, say)
            try:
                page = SnapshotPage([contract.model_validate(item) for item in body["items"]], body["next"])
            except (ValidationError, KeyError, TypeError) as error:
                raise OwnerRefused(f"{self.name} answered with no page of {snapshot}") from error
            yield page
            if page.next is None:
                return
            cursor = page.next
            due = max(due, loop.time() - 1.0) + len(page.states) / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _page(self, snapshot: str, cursor: str | None, say: Say) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        away_since, tries = loop.time(), 0
        while True:
            try:
                return await self._ask(snapshot, cursor)
            except RemoteUnavailable as error:
                if loop.time() - away_since >= self._patience:
                    raise OwnerAway(f"{self.name} is away: {error.detail}") from error
                pause = min(2.0**tries, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, hides nothing
                say(f"{self.name} is away ({error.detail}); trying again in {pause:.1f} s")
                tries += 1
                await asyncio.sleep(pause)

    async def _ask(self, snapshot: str, cursor: str | None) -> dict[str, Any]:
        query = {"limit": str(PAGE)} | ({} if cursor is None else {"cursor": cursor})
        # Made for each call: a token is good for a minute, a rebuild takes longer.
        headers = {"authorization": f"Bearer {self._issuer.issue(self.name)}"}
        reply = await self._http.request("GET", f"/internal/snapshots/{snapshot}", params=query, headers=headers)
        if reply.status_code in {429, 500, 502, 503, 504}:
            raise RemoteUnavailable(f"it answered {reply.status_code}")
        if reply.status_code != 200:
            raise OwnerRefused(f"{self.name} answered {reply.status_code} to /internal/snapshots/{snapshot}")
        try:
            body: dict[str, Any] = reply.json()
        except ValueError as error:
            raise OwnerRefused(f"{self.name} answered with no JSON to /internal/snapshots/{snapshot}") from error
        return body

    async def close(self) -> None:
        await self._http.close()
