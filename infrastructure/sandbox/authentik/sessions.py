"""Sessions of the login page, and what ends with them."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from infrastructure.sandbox.authentik.directory import Directory, User
from infrastructure.sandbox.authentik.issued import Issued
from infrastructure.sandbox.authentik.notices import Notices
from infrastructure.sandbox.authentik.one_time import digest, new_secret

SESSION_SECONDS = 14 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A live session: whose, its public name `sid` (a claim of tokens), and when the password was given."""

    user: User
    sid: str
    auth_time: int


class Sessions:
    """The sessions of one instance; the cookie's value is kept as a digest."""

    def __init__(
        self,
        store: sqlite3.Connection,
        directory: Directory,
        issued: Issued,
        notices: Notices,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._directory = directory
        self._issued = issued
        self._notices = notices
        self._clock = clock

    def start(self, user: User, cookie: str) -> str:
        """A session after a right password; returns the new cookie.

        The value is always a new one (against session fixation). The same user's session goes on; another user's
        ends.
        """
        now, fresh = self._clock(), new_secret()
        before = self.find(cookie)
        if before is not None and before.user.pk == user.pk:
            self._store.execute(
                "UPDATE sessions SET digest = ?, auth_time = ?, expires = ? WHERE sid = ?",
                (digest(fresh), int(now), now + SESSION_SECONDS, before.sid),
            )
            return fresh
        if before is not None:
            self.end(before)
        self._store.execute(
            "INSERT INTO sessions (sid, digest, user_pk, auth_time, expires) VALUES (?, ?, ?, ?, ?)",
            (uuid4().hex, digest(fresh), user.pk, int(now), now + SESSION_SECONDS),
        )
        return fresh

    def find(self, cookie: str) -> SignedIn | None:
        row = self._store.execute(
            "SELECT * FROM sessions WHERE digest = ? AND expires > ?", (digest(cookie), self._clock())
        ).fetchone()
        user = self._directory.user_with_pk(row["user_pk"]) if row else None
        return SignedIn(user, row["sid"], row["auth_time"]) if user else None

    def enter(self, signed_in: SignedIn, slug: str) -> None:
        """Notes that the session has been used for an application, which will hear of its end."""
        self._store.execute("INSERT OR IGNORE INTO session_logins (sid, slug) VALUES (?, ?)", (signed_in.sid, slug))

    def end(self, signed_in: SignedIn) -> None:
        """Ends the session and its access tokens, and tells its applications."""
        for login in self._store.execute("SELECT slug FROM session_logins WHERE sid = ?", (signed_in.sid,)).fetchall():
            self._notices.add(login["slug"], signed_in.user.uid, signed_in.sid)
        self._issued.end_session(signed_in.sid)
        self._store.execute("DELETE FROM codes WHERE sid = ?", (signed_in.sid,))
        self._store.execute("DELETE FROM sessions WHERE sid = ?", (signed_in.sid,))

    def lock_out(self, user: User) -> None:
        """Ends all that a person holds: sessions, every kind of token, codes and recovery links."""
        for row in self._store.execute("SELECT * FROM sessions WHERE user_pk = ?", (user.pk,)).fetchall():
            self.end(SignedIn(user, row["sid"], row["auth_time"]))
        self._issued.end_user(user)
        self._store.execute("DELETE FROM codes WHERE user_pk = ?", (user.pk,))
        self._store.execute("DELETE FROM recovery_links WHERE user_pk = ?", (user.pk,))
