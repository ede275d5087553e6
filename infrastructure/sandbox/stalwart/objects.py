"""The SQLite file: objects as JSON, the keys that no two may share, and who refers to whom."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    tenant INTEGER,
    owner INTEGER,
    created TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS kinds ON objects (kind, id);
CREATE TABLE IF NOT EXISTS keys (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    property TEXT NOT NULL,
    object INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_of ON keys (object);
CREATE TABLE IF NOT EXISTS links (
    target INTEGER NOT NULL REFERENCES objects (id),
    source INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    PRIMARY KEY (target, source)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_of ON links (source);
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    tenant INTEGER,
    bytes INTEGER NOT NULL,
    sender TEXT NOT NULL,
    received TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS mail_of ON mail (account, bytes);
CREATE INDEX IF NOT EXISTS mail_of_tenant ON mail (tenant, bytes);
CREATE TABLE IF NOT EXISTS installed (name TEXT PRIMARY KEY, object INTEGER NOT NULL) WITHOUT ROWID;
"""
# Object ids are numbers, written in the original's own base 32.
ALPHABET = "abcdefghijklmnopqrstuvwxyz792013"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object. `body` holds what callers may write; `owner` is set for what belongs to one account."""

    id: int
    kind: str
    tenant: int | None
    owner: int | None
    created: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """An object about to be written: its keys with the property that each comes from, and what it refers to."""

    body: dict[str, Any]
    keys: dict[str, str]
    links: frozenset[int]
    tenant: int | None
    owner: int | None = None


class Objects:
    """The objects of one instance. Nothing here judges; writes belong into a transaction of `store`."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self.store = store

    def add(self, kind: str, draft: Draft) -> int:
        cursor = self.store.execute(
            "INSERT INTO objects (kind, tenant, owner, created, body) VALUES (?, ?, ?, ?, ?)",
            (kind, draft.tenant, draft.owner, now(), json.dumps(draft.body)),
        )
        assert cursor.lastrowid is not None
        self._relate(kind, cursor.lastrowid, draft)
        return cursor.lastrowid

    def replace(self, kind: str, number: int, draft: Draft) -> None:
        self.store.execute(
            "UPDATE objects SET tenant = ?, body = ? WHERE id = ?", (draft.tenant, json.dumps(draft.body), number)
        )
        self.store.execute("DELETE FROM keys WHERE object = ?", (number,))
        self.store.execute("DELETE FROM links WHERE source = ?", (number,))
        self._relate(kind, number, draft)

    def remove(self, number: int) -> None:
        """With its keys, links, and what it owns."""
        self.store.execute("DELETE FROM objects WHERE owner = ?", (number,))
        self.store.execute("DELETE FROM objects WHERE id = ?", (number,))

    def find(self, kind: str, number: int | None) -> Stored | None:
        row = self.store.execute("SELECT * FROM objects WHERE id = ? AND kind = ?", (number, kind)).fetchone()
        return _stored(row) if row else None

    def every(self, kind: str) -> list[Stored]:
        """Oldest first."""
        return [_stored(row) for row in self.store.execute("SELECT * FROM objects WHERE kind = ? ORDER BY id", (kind,))]

    def holder(self, kind: str, key: str) -> int | None:
        row = self.store.execute("SELECT object FROM keys WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return row["object"] if row else None

    def linked_to(self, number: int) -> list[tuple[str, int]]:
        """Kind and id of whatever refers to the object."""
        rows = self.store.execute(
            "SELECT kind, id FROM objects JOIN links ON source = id WHERE target = ? ORDER BY kind, id", (number,)
        )
        return [(row["kind"], row["id"]) for row in rows]

    def used_bytes(self, column: str, number: int) -> int:
        """The mail of an `account` or of a `tenant`, that of destroyed accounts included until its task ran."""
        assert column in ("account", "tenant")
        row = self.store.execute(f"SELECT coalesce(sum(bytes), 0) FROM mail WHERE {column} = ?", (number,)).fetchone()
        used: int = row[0]
        return used

    def installed(self, name: str) -> int | None:
        """The object that a first start made under this name."""
        row = self.store.execute("SELECT object FROM installed WHERE name = ?", (name,)).fetchone()
        return row["object"] if row else None

    def _relate(self, kind: str, number: int, draft: Draft) -> None:
        self._many("INSERT INTO keys VALUES (?, ?, ?, ?)", ((kind, k, p, number) for k, p in draft.keys.items()))
        self._many("INSERT INTO links VALUES (?, ?)", ((target, number) for target in draft.links))

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self.store.executemany(statement, rows)


def _stored(row: sqlite3.Row) -> Stored:
    return Stored(row["id"], row["kind"], row["tenant"], row["owner"], row["created"], json.loads(row["body"]))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def text_id(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 32)
        digits = ALPHABET[digit] + digits
        if number == 0:
            return digits


def number_id(text: object) -> int | None:
    """None for what is no id at all; SQLite's largest integer bounds the rest."""
    if not isinstance(text, str) or not text or len(text) > 12 or any(letter not in ALPHABET for letter in text):
        return None
    number = 0
    for letter in text:
        number = number * 32 + ALPHABET.index(letter)
    return number
