"""Users, groups and memberships. Names of users are compared without regard to case, those of groups exactly."""

import sqlite3
from uuid import uuid4

ADMINISTRATOR = "admin"


class Directory:
    """The people of one instance, by rows of `users` and `groups`. Writes belong into a transaction."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self.store = store

    def user(self, identity: str) -> sqlite3.Row | None:
        """By id or by name."""
        row: sqlite3.Row | None = self.store.execute(
            "SELECT * FROM users WHERE id = ? UNION ALL SELECT * FROM users WHERE name = ?", (identity, identity)
        ).fetchone()
        return row

    def administrator(self) -> sqlite3.Row:
        """The bearer of the seed's tokens."""
        row = self.user(ADMINISTRATOR)
        assert row is not None, "made at the first start, and not removable"
        return row

    def users(self) -> list[sqlite3.Row]:
        return self.store.execute("SELECT * FROM users ORDER BY sequence").fetchall()

    def add_user(self, name: str, display_name: str, mail: str, *, enabled: bool = True) -> sqlite3.Row:
        """Raises sqlite3.IntegrityError if the name is taken."""
        row: sqlite3.Row = self.store.execute(
            "INSERT INTO users (id, name, display_name, mail, enabled) VALUES (?, ?, ?, ?, ?) RETURNING *",
            (str(uuid4()), name, display_name, mail, enabled),
        ).fetchone()
        return row

    def change_user(self, identity: str, changes: dict[str, object]) -> None:
        """By column. Raises sqlite3.IntegrityError if the name is taken."""
        for column, value in changes.items():
            self.store.execute(f"UPDATE users SET {column} = ? WHERE id = ?", (value, identity))

    def remove_user(self, identity: str) -> None:
        """With the personal space and everything that was granted to the user."""
        self.store.execute("DELETE FROM drives WHERE kind = 'personal' AND owner = ?", (identity,))
        self.store.execute("DELETE FROM grants WHERE kind = 'user' AND holder = ?", (identity,))
        self.store.execute("DELETE FROM users WHERE id = ?", (identity,))

    def group(self, identity: str) -> sqlite3.Row | None:
        """By id or by name."""
        row: sqlite3.Row | None = self.store.execute(
            "SELECT * FROM groups WHERE id = ? UNION ALL SELECT * FROM groups WHERE display_name = ?",
            (identity, identity),
        ).fetchone()
        return row

    def groups(self) -> list[sqlite3.Row]:
        return self.store.execute("SELECT * FROM groups ORDER BY sequence").fetchall()

    def add_group(self, display_name: str) -> sqlite3.Row:
        """Raises sqlite3.IntegrityError if the name is taken."""
        row: sqlite3.Row = self.store.execute(
            "INSERT INTO groups (id, display_name) VALUES (?, ?) RETURNING *", (str(uuid4()), display_name)
        ).fetchone()
        return row

    def rename_group(self, identity: str, display_name: str) -> None:
        """Raises sqlite3.IntegrityError if the name is taken."""
        self.store.execute("UPDATE groups SET display_name = ? WHERE id = ?", (display_name, identity))

    def remove_group(self, identity: str) -> None:
        self.store.execute("DELETE FROM grants WHERE kind = 'group' AND holder = ?", (identity,))
        self.store.execute("DELETE FROM groups WHERE id = ?", (identity,))

    def groups_of(self, user: str) -> list[sqlite3.Row]:
        return self.store.execute(
            "SELECT groups.* FROM groups JOIN memberships ON group_id = id WHERE user_id = ? ORDER BY sequence", (user,)
        ).fetchall()

    def members_of(self, group: str) -> list[sqlite3.Row]:
        return self.store.execute(
            "SELECT users.* FROM users JOIN memberships ON user_id = id WHERE group_id = ? ORDER BY sequence", (group,)
        ).fetchall()

    def join(self, group: str, user: str) -> bool:
        """False if the user was a member already."""
        done = self.store.execute("INSERT OR IGNORE INTO memberships (group_id, user_id) VALUES (?, ?)", (group, user))
        return done.rowcount == 1

    def leave(self, group: str, user: str) -> bool:
        """False if the user was no member."""
        done = self.store.execute("DELETE FROM memberships WHERE group_id = ? AND user_id = ?", (group, user))
        return done.rowcount == 1
