"""One-time links by which a person chooses a new password, as far as the brand has a recovery flow."""

import json
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta

from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.one_time import digest, new_secret

UNITS = ("microseconds", "milliseconds", "seconds", "minutes", "hours", "days", "weeks")


class Recovery:
    """The recovery links of one instance; a user has at most one, the newest."""

    def __init__(
        self, store: sqlite3.Connection, directory: Directory, public_url: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._directory = directory
        self._public_url = public_url
        self._clock = clock

    def flow(self) -> str | None:
        """The slug of the brand's recovery flow."""
        (fields,) = self._store.execute("SELECT fields FROM brands").fetchone()
        row = self._store.execute(
            "SELECT slug FROM flows WHERE pk = ?", (json.loads(fields).get("flow_recovery"),)
        ).fetchone()
        return row["slug"] if row else None

    def link(self, user: User, flow: str, duration: str) -> str:
        """Raises ValueError for a duration that is not like `hours=3;minutes=1`."""
        key, expires = new_secret(), self._clock() + _seconds(duration)
        self._store.execute(
            "REPLACE INTO recovery_links (user_pk, digest, flow_slug, expires) VALUES (?, ?, ?, ?)",
            (user.pk, digest(key), flow, expires),
        )
        return f"{self._public_url}/if/flow/{flow}/?flow_token={key}"

    def holder(self, flow: str, key: str) -> User | None:
        """The active user whose unused link this is."""
        row = self._store.execute(
            "SELECT user_pk FROM recovery_links WHERE digest = ? AND flow_slug = ? AND expires > ?",
            (digest(key), flow, self._clock()),
        ).fetchone()
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        return user if user is not None and user.is_active else None

    def use(self, user: User, password: str) -> None:
        """Sets the password and ends the link."""
        self._store.execute("DELETE FROM recovery_links WHERE user_pk = ?", (user.pk,))
        self._directory.set_password(user, password)


def _seconds(duration: str) -> float:
    parts: dict[str, int] = {}
    for part in duration.split(";"):
        unit, _, number = part.partition("=")
        if unit not in UNITS or not (number.isascii() and number.isdigit() and len(number) < 8):
            raise ValueError(duration)
        parts[unit] = int(number)
    return timedelta(**parts).total_seconds()
