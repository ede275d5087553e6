"""Users, groups, memberships and app passwords.

Names are compared exactly, case included, and usernames that differ only in case coexist, as in the original.
"""

import sqlite3
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from uuid import uuid4

from infrastructure.sandbox.authentik.moments import moment
from infrastructure.sandbox.authentik.passwords import hash_password, verify_password

UserType = Literal["internal", "external", "service_account", "internal_service_account"]

SUPERUSERS = (
    "WITH RECURSIVE above (pk) AS (SELECT pk FROM groups WHERE is_superuser UNION"
    " SELECT group_pk FROM group_parents JOIN above ON parent_pk = above.pk)"
    " SELECT user_pk FROM memberships JOIN above ON group_pk = above.pk"
)


@dataclass(frozen=True, slots=True)
class User:
    """A user as tokens see it. `uid` is the hex hash that becomes the subject of every token."""

    pk: int
    uuid: str
    uid: str
    username: str
    name: str
    email: str
    is_active: bool


class Directory:
    """The people of one instance. `secret` makes `uid` unguessable and unlike any other instance's."""

    def __init__(self, store: sqlite3.Connection, secret: str) -> None:
        self._store = store
        self._secret = secret

    def add_group(self, name: str) -> str:
        """Creates the group and returns its UUID. Raises sqlite3.IntegrityError if the name is taken."""
        pk = str(uuid4())
        self._store.execute("INSERT INTO groups (pk, name) VALUES (?, ?)", (pk, name))
        return pk

    def group_named(self, name: str) -> str | None:
        """The UUID of the group of exactly this name."""
        row = self._store.execute("SELECT pk FROM groups WHERE name = ?", (name,)).fetchone()
        return row["pk"] if row else None

    def group_names_of(self, user: User) -> list[str]:
        """The names of the user's groups, sorted."""
        rows = self._store.execute(
            "SELECT name FROM groups JOIN memberships ON group_pk = pk WHERE user_pk = ? ORDER BY name",
            (user.pk,),
        )
        return [row["name"] for row in rows]

    def is_member(self, user: User, group_pk: str) -> bool:
        found = self._store.execute("SELECT 1 FROM memberships WHERE user_pk = ? AND group_pk = ?", (user.pk, group_pk))
        return found.fetchone() is not None

    def add_membership(self, user: User, group_pk: str) -> None:
        """Joining twice is joining once."""
        self._store.execute("INSERT OR IGNORE INTO memberships (user_pk, group_pk) VALUES (?, ?)", (user.pk, group_pk))

    def remove_membership(self, user: User, group_pk: str) -> None:
        """Leaving a group that one is not in changes nothing."""
        self._store.execute("DELETE FROM memberships WHERE user_pk = ? AND group_pk = ?", (user.pk, group_pk))

    def is_superuser(self, user: User) -> bool:
        """A superuser group makes superusers of its members, and of the members of the groups below it."""
        found = self._store.execute(f"SELECT ? IN ({SUPERUSERS})", (user.pk,)).fetchone()
        return bool(found[0])

    def add_user(
        self,
        username: str,
        name: str,
        email: str,
        *,
        kind: UserType = "internal",
        path: str = "users",
        uid: str | None = None,
    ) -> User:
        """Creates an active user without a password; `uid` is derived unless given.

        Raises sqlite3.IntegrityError if the username or the `uid` is taken.
        """
        now = moment()
        cursor = self._store.execute(
            "INSERT INTO users (uuid, uid, username, name, email, path, type, date_joined, last_updated,"
            " password_change_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (str(uuid4()), uid, username, name, email, path, kind, now, now, now),
        )
        return self._user(cursor.fetchone())

    def user_named(self, username: str) -> User | None:
        """The user of exactly this username, active or not."""
        row = self._store.execute("SELECT * FROM users WHERE username = ?", (username,)).fetchone()
        return self._user(row) if row else None

    def user_with_pk(self, pk: int) -> User | None:
        """The user of this number, active or not."""
        row = self._store.execute("SELECT * FROM users WHERE pk = ?", (pk,)).fetchone()
        return self._user(row) if row else None

    def set_password(self, user: User, password: str) -> None:
        """Sets the password of the login page; no policy applies."""
        now = moment()
        self._store.execute(
            "UPDATE users SET password = ?, password_change_date = ?, last_updated = ? WHERE pk = ?",
            (hash_password(password), now, now, user.pk),
        )

    def sign_in(self, username: str, password: str) -> User | None:
        """The active user whose login password this is. Takes as long for an unknown user as for a wrong password."""
        row = self._store.execute("SELECT * FROM users WHERE username = ?", (username,)).fetchone()
        right = verify_password(password, row["password"] if row else None)
        if row is None or not right or not row["is_active"]:
            return None
        self._store.execute("UPDATE users SET last_login = ? WHERE pk = ?", (moment(), row["pk"]))
        return self._user(row)

    def add_app_password(self, user: User, key: str) -> None:
        """Gives the user one more app password, stored as a digest."""
        self._store.execute(
            "INSERT INTO app_passwords (digest, user_pk) VALUES (?, ?)", (_digest(user.pk, key), user.pk)
        )

    def holds_app_password(self, user: User, key: str) -> bool:
        """True for a seeded app password, and for the key of an unexpired token of that intent."""
        found = self._store.execute(
            "SELECT 1 FROM app_passwords WHERE digest = ? UNION ALL SELECT 1 FROM tokens"
            " WHERE user_pk = ? AND key = ? AND intent = 'app_password' AND (expires IS NULL OR expires > ?)",
            (_digest(user.pk, key), user.pk, key, moment()),
        )
        return found.fetchone() is not None

    def subject(self, row: sqlite3.Row) -> str:
        """The `uid` of a row of users."""
        uid: str | None = row["uid"]
        return uid or sha256(f"{row['pk']}-{self._secret}".encode()).hexdigest()

    def _user(self, row: sqlite3.Row) -> User:
        return User(
            pk=row["pk"],
            uuid=row["uuid"],
            uid=self.subject(row),
            username=row["username"],
            name=row["name"],
            email=row["email"],
            is_active=bool(row["is_active"]),
        )


def _digest(user_pk: int, key: str) -> str:
    # A plain hash is enough for app passwords: generated, never chosen, they cannot be guessed.
    return sha256(f"{user_pk}:{key}".encode()).hexdigest()
