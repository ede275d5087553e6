"""The SQLite file that holds the stand-in's state."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    uid TEXT UNIQUE,
    username TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1,
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    attributes TEXT NOT NULL DEFAULT '{}',
    password TEXT,
    date_joined TEXT NOT NULL,
    last_login TEXT,
    last_updated TEXT NOT NULL,
    password_change_date TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS groups (
    num_pk INTEGER PRIMARY KEY AUTOINCREMENT,
    pk TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    is_superuser INTEGER NOT NULL DEFAULT 0,
    attributes TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS memberships (
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    group_pk TEXT NOT NULL REFERENCES groups (pk) ON DELETE CASCADE,
    PRIMARY KEY (user_pk, group_pk)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS app_passwords (
    digest TEXT PRIMARY KEY,
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS applications (
    slug TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    client_id TEXT NOT NULL UNIQUE,
    client_secret TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    grant_types TEXT NOT NULL,
    bound_group TEXT
);
CREATE TABLE IF NOT EXISTS seeded (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""


def open_store(path: Path) -> sqlite3.Connection:
    """Opens the file (mode 0600), creating what is missing. A committed write survives `kill -9`.

    The connection belongs to the thread that opened it: the stand-in answers on one event loop.
    """
    # SQLite gives its journal files the mode of the main file, so the main file must be private first.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    store = sqlite3.connect(path, isolation_level=None)
    store.row_factory = sqlite3.Row
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = FULL")
    store.execute("PRAGMA foreign_keys = ON")
    store.executescript(SCHEMA)
    return store


@contextmanager
def transaction(store: sqlite3.Connection) -> Iterator[None]:
    """All of the body's writes, or none. Not to be nested, and no `await` belongs inside."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")
