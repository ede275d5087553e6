"""Tokens that have been given out, by digest, so that they can be looked up and revoked."""

import sqlite3
import time
from collections.abc import Callable
from typing import Literal

from infrastructure.sandbox.authentik.directory import User
from infrastructure.sandbox.authentik.granted import Granted
from infrastructure.sandbox.authentik.one_time import digest

REFRESH_TOKEN_SECONDS = 30 * 24 * 3600


class Issued:
    """Access and refresh tokens. Those of one authorization code and its refreshes are a family."""

    def __init__(self, store: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def add(self, kind: Literal["access", "refresh"], token: str, granted: Granted, seconds: int) -> None:
        """Remembers a token for its lifetime; forgets those whose time is over."""
        now = self._clock()
        self._store.execute("DELETE FROM issued_tokens WHERE expires <= ?", (now,))
        self._store.execute(
            "INSERT INTO issued_tokens (digest, kind, family, slug, user_pk, sid, auth_time, amr, scope, nonce,"
            " issued, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest(token),
                kind,
                granted.family,
                granted.application.slug,
                granted.user.pk,
                granted.sid,
                granted.auth_time,
                " ".join(granted.amr),
                " ".join(granted.scopes),
                granted.nonce,
                int(now),
                now + seconds,
            ),
        )

    def find(self, token: str, kind: Literal["access", "refresh"]) -> sqlite3.Row | None:
        """The unexpired token, revoked or not."""
        row: sqlite3.Row | None = self._store.execute(
            "SELECT * FROM issued_tokens WHERE digest = ? AND kind = ? AND expires > ?",
            (digest(token), kind, self._clock()),
        ).fetchone()
        return row

    def revoke(self, token: str) -> None:
        self._store.execute("UPDATE issued_tokens SET revoked = 1 WHERE digest = ?", (digest(token),))

    def revoke_family(self, family: str) -> None:
        self._store.execute("UPDATE issued_tokens SET revoked = 1 WHERE family = ?", (family,))

    def end_session(self, sid: str) -> None:
        """Access tokens end with their session; refresh tokens are for afterwards (`offline_access`)."""
        self._store.execute("DELETE FROM issued_tokens WHERE sid = ? AND kind = 'access'", (sid,))

    def end_user(self, user: User) -> None:
        self._store.execute("DELETE FROM issued_tokens WHERE user_pk = ?", (user.pk,))
