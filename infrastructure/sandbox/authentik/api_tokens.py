"""Tokens for the administration API and app passwords. Keys are kept in clear, as in the original."""

import secrets
import sqlite3
from dataclasses import dataclass
from uuid import uuid4

from infrastructure.sandbox.authentik.directory import User
from infrastructure.sandbox.authentik.permissions import Permissions

KEY_BYTES = 45


@dataclass(frozen=True, slots=True)
class NewApiToken:
    """What is written of a token; `expires` is None for one that does not expire."""

    identifier: str
    intent: str
    user_pk: int
    expires: str | None
    description: str = ""


class ApiTokens:
    """Adds tokens, and gives their makers what initial permissions promise them."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._permissions = Permissions(store)

    def add(self, new: NewApiToken, maker: User | None) -> sqlite3.Row:
        """Adds the token with a key of its own. Raises sqlite3.IntegrityError if the identifier is taken."""
        key = secrets.token_urlsafe(KEY_BYTES)
        row: sqlite3.Row = self._store.execute(
            "INSERT INTO tokens (pk, identifier, intent, user_pk, description, key, expires, expiring)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                *(str(uuid4()), new.identifier, new.intent, new.user_pk, new.description, key),
                *(new.expires, new.expires is not None),
            ),
        ).fetchone()
        if maker is not None:
            self._permissions.give_initial(maker.pk, "token", row["pk"])
        return row

    def let_view_key(self, maker: User, pk: str) -> None:
        """Lets who made a token for themselves see its key, by a role that is theirs alone."""
        name = f"ak-managed-role--user-{maker.pk}"
        self._store.execute("INSERT OR IGNORE INTO roles (pk, name) VALUES (?, ?)", (str(uuid4()), name))
        (role,) = self._store.execute("SELECT pk FROM roles WHERE name = ?", (name,)).fetchone()
        self._store.execute("INSERT OR IGNORE INTO user_roles (user_pk, role_pk) VALUES (?, ?)", (maker.pk, role))
        number = self._permissions.number_of("authentik_core.view_token_key")
        assert number is not None
        self._permissions.give(role, number, pk)
