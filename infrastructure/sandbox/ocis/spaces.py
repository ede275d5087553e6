"""Drives (project and personal spaces), and what is granted on them."""

import sqlite3
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from infrastructure.sandbox.ocis.roles import CAPABILITY, EDITOR, MANAGER
from infrastructure.sandbox.ocis.store import now

# The id of the one storage that holds all spaces.
STORAGE = "1284d238-aa92-42ce-bdc4-0b0000009157"
NOT_EXPIRED = "(expires IS NULL OR expires > ?)"


@dataclass(frozen=True, slots=True)
class NewDrive:
    """`total` 0 means no quota; the name need not be unique."""

    name: str
    description: str
    alias: str
    total: int


class Spaces:
    """The drives of one instance. Writes belong into a transaction."""

    def __init__(self, store: sqlite3.Connection, public_url: str) -> None:
        self.store = store
        self._public_url = public_url

    def add(self, new: NewDrive, owner: str, kind: str = "project") -> sqlite3.Row:
        """The owner becomes its manager."""
        space = str(uuid4())
        identity = f"{STORAGE}${space}!{space}"
        self.store.execute(
            "INSERT INTO drives (id, kind, name, description, alias, total, owner, modified)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (identity, kind, new.name, new.description, new.alias, new.total, owner, now()),
        )
        self.grant(identity, "user", owner, MANAGER)
        row = self.drive(identity)
        assert row is not None, "just written"
        return row

    def ensure_personal(self, user: sqlite3.Row) -> None:
        """Made at the first sign-in, as in the original."""
        if self.personal(user["id"]) is None:
            self.add(NewDrive(user["display_name"], "", f"personal/{user['name']}", 0), user["id"], "personal")

    def personal(self, user: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.store.execute(
            "SELECT * FROM drives WHERE kind = 'personal' AND owner = ?", (user,)
        ).fetchone()
        return row

    def drive(self, identity: str) -> sqlite3.Row | None:
        """By its whole id, or without the part from the `!`, which names the root of the space."""
        row: sqlite3.Row | None = self.store.execute(
            "SELECT * FROM drives WHERE id = ? OR id = ?", (identity, f"{identity}!{identity.rpartition('$')[2]}")
        ).fetchone()
        return row

    def drives(self) -> list[sqlite3.Row]:
        return self.store.execute("SELECT * FROM drives ORDER BY sequence").fetchall()

    def change(self, identity: str, changes: dict[str, object]) -> None:
        """By column."""
        for column, value in {**changes, "modified": now()}.items():
            self.store.execute(f"UPDATE drives SET {column} = ? WHERE id = ?", (value, identity))

    def remove(self, identity: str) -> None:
        self.store.execute("DELETE FROM drives WHERE id = ?", (identity,))

    def grant(self, drive: str, kind: str, holder: str, role: str, expires: str | None = None) -> bool:
        """False if there is a grant already."""
        done = self.store.execute(
            "INSERT OR IGNORE INTO grants (drive, kind, holder, role, expires, created) VALUES (?, ?, ?, ?, ?, ?)",
            (drive, kind, holder, role, expires, now()),
        )
        return done.rowcount == 1

    def change_role(self, drive: str, kind: str, holder: str, role: str) -> None:
        self.store.execute(
            "UPDATE grants SET role = ? WHERE drive = ? AND kind = ? AND holder = ?", (role, drive, kind, holder)
        )

    def revoke(self, drive: str, kind: str, holder: str) -> None:
        self.store.execute("DELETE FROM grants WHERE drive = ? AND kind = ? AND holder = ?", (drive, kind, holder))

    def grants(self, drive: str) -> list[sqlite3.Row]:
        """Those that hold, oldest first."""
        return self.store.execute(
            f"SELECT * FROM grants WHERE drive = ? AND {NOT_EXPIRED} ORDER BY created, holder", (drive, now())
        ).fetchall()

    def role_of(self, drive: str, user: str) -> str | None:
        """The strongest role that the user has, in person or by a group."""
        rows = self.store.execute(
            f"SELECT role FROM grants WHERE drive = ? AND {NOT_EXPIRED} AND (kind = 'user' AND holder = ?"
            " OR kind = 'group' AND holder IN (SELECT group_id FROM memberships WHERE user_id = ?))",
            (drive, now(), user, user),
        )
        return max((row["role"] for row in rows), key=lambda role: CAPABILITY[role], default=None)

    def sees(self, row: sqlite3.Row, user: str) -> bool:
        """Members see a space; once it is disabled, only its managers do."""
        role = self.role_of(row["id"], user)
        return role is not None and (not row["trashed"] or role == MANAGER)

    def shown(self, row: sqlite3.Row) -> dict[str, Any]:
        """A drive as it reads. Of a disabled one the quota's use is unknown."""
        identity, total, used = row["id"], row["total"], row["used"]
        quota: dict[str, Any] = {"total": total}
        root: dict[str, Any] = {
            "id": identity,
            "eTag": f'"{identity[-12:]}{row["modified"][-7:-1]}"',
            "webDavUrl": f"{self._public_url}/dav/spaces/{quote(identity, safe='$')}",
            "permissions": [
                {"grantedToV2": {grant["kind"]: {"id": grant["holder"]}}, "roles": [_word(grant["role"])]}
                for grant in self.grants(identity)
            ],
        }
        if row["trashed"]:
            root["deleted"] = {"state": "trashed"}
        else:
            quota |= {"used": used, "remaining": max(0, total - used), "state": "normal"}
        return {
            "id": identity,
            "driveType": row["kind"],
            "driveAlias": row["alias"],
            "name": row["name"],
            "description": row["description"],
            "lastModifiedDateTime": row["modified"],
            "owner": {"user": {"id": row["owner"], "displayName": ""}},
            "quota": quota,
            "root": root,
            "webUrl": f"{self._public_url}/f/{quote(identity, safe='$')}",
        }


def _word(role: str) -> str:
    return {MANAGER: "manager", EDITOR: "editor"}.get(role, "viewer")
