"""Telling applications that a session has ended (OpenID Connect Back-Channel Logout 1.0).

A notice is stored with the change that causes it, and posted afterwards until the application takes it, so that
neither `kill -9` nor an application that is down loses it.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable

import httpx

from infrastructure.sandbox.authentik.applications import Applications
from infrastructure.sandbox.authentik.tokens import Tokens

ATTEMPTS = 12
BACK_OFF_SECONDS, BACK_OFF_SECONDS_MAX = 0.25, 300.0
IDLE_SECONDS = 60.0
DEADLINE_SECONDS = 5.0


class Notices:
    """The notices that wait. `wake` is set when there is a new one."""

    def __init__(
        self, store: sqlite3.Connection, applications: Applications, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._applications = applications
        self._clock = clock
        self.wake = asyncio.Event()

    def add(self, slug: str, sub: str, sid: str) -> None:
        """For an application that registered no address there is nothing to do."""
        application = self._applications.with_slug(slug)
        if application is None or application.backchannel_logout_uri is None:
            return
        self._store.execute(
            "INSERT INTO logout_notices (slug, sub, sid, due) VALUES (?, ?, ?, ?)", (slug, sub, sid, self._clock())
        )
        self.wake.set()

    def due(self) -> list[sqlite3.Row]:
        """The oldest first."""
        return self._store.execute(
            "SELECT * FROM logout_notices WHERE due <= ? ORDER BY id", (self._clock(),)
        ).fetchall()

    def next_due(self) -> float:
        """Seconds until the next attempt."""
        (due,) = self._store.execute("SELECT min(due) FROM logout_notices").fetchone()
        return IDLE_SECONDS if due is None else max(0.0, min(IDLE_SECONDS, due - self._clock()))

    def taken(self, notice: sqlite3.Row) -> None:
        self._store.execute("DELETE FROM logout_notices WHERE id = ?", (notice["id"],))

    def refused(self, notice: sqlite3.Row) -> None:
        """Comes back later, each time twice as late; given up after `ATTEMPTS`."""
        attempts = notice["attempts"] + 1
        if attempts >= ATTEMPTS:
            self.taken(notice)
            return
        later = min(BACK_OFF_SECONDS * 2**attempts, BACK_OFF_SECONDS_MAX)
        self._store.execute(
            "UPDATE logout_notices SET attempts = ?, due = ? WHERE id = ?",
            (attempts, self._clock() + later, notice["id"]),
        )


class LogoutDelivery:
    """Posts the notices, one at a time, each with a token of its own age."""

    def __init__(self, notices: Notices, applications: Applications, tokens: Tokens) -> None:
        self._notices = notices
        self._applications = applications
        self._tokens = tokens

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx.AsyncClient(timeout=DEADLINE_SECONDS, trust_env=False, follow_redirects=False) as client:
            while True:
                self._notices.wake.clear()
                for notice in self._notices.due():
                    await self._deliver(client, notice)
                try:
                    await asyncio.wait_for(self._notices.wake.wait(), self._notices.next_due())
                except TimeoutError:
                    continue

    async def _deliver(self, client: httpx.AsyncClient, notice: sqlite3.Row) -> None:
        application = self._applications.with_slug(notice["slug"])
        if application is None or application.backchannel_logout_uri is None:
            self._notices.taken(notice)
            return
        token = self._tokens.logout_token(application, notice["sub"], notice["sid"])
        try:
            answer = await client.post(application.backchannel_logout_uri, data={"logout_token": token})
        except httpx.HTTPError:
            self._notices.refused(notice)
            return
        if answer.is_success:
            self._notices.taken(notice)
        else:
            self._notices.refused(notice)
