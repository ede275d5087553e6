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

# Each runs once, in order, on a file of any age; `user_version` counts those that have run.
MIGRATIONS = (
    """
ALTER TABLE applications ADD COLUMN post_logout_redirect_uris TEXT NOT NULL DEFAULT '[]';
ALTER TABLE applications ADD COLUMN backchannel_logout_uri TEXT;
CREATE TABLE group_parents (
    group_pk TEXT NOT NULL REFERENCES groups (pk) ON DELETE CASCADE,
    parent_pk TEXT NOT NULL REFERENCES groups (pk) ON DELETE CASCADE,
    PRIMARY KEY (group_pk, parent_pk)
) WITHOUT ROWID;
CREATE INDEX members ON memberships (group_pk, user_pk);
CREATE TABLE tokens (
    pk TEXT PRIMARY KEY,
    identifier TEXT NOT NULL UNIQUE,
    intent TEXT NOT NULL,
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    description TEXT NOT NULL,
    key TEXT NOT NULL,
    expires TEXT,
    expiring INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys ON tokens (key);
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    pk TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    action TEXT NOT NULL,
    app TEXT NOT NULL,
    context TEXT NOT NULL,
    client_ip TEXT,
    created TEXT NOT NULL,
    expires TEXT NOT NULL
);
CREATE TABLE flows (
    pk TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    designation TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE brands (
    brand_uuid TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    fields TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE recovery_links (
    user_pk INTEGER PRIMARY KEY REFERENCES users (pk) ON DELETE CASCADE,
    digest TEXT NOT NULL UNIQUE,
    flow_slug TEXT NOT NULL,
    expires REAL NOT NULL
);
CREATE TABLE sessions (
    sid TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    auth_time INTEGER NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE session_logins (
    sid TEXT NOT NULL REFERENCES sessions (sid) ON DELETE CASCADE,
    slug TEXT NOT NULL REFERENCES applications (slug) ON DELETE CASCADE,
    PRIMARY KEY (sid, slug)
) WITHOUT ROWID;
CREATE TABLE codes (
    digest TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    slug TEXT NOT NULL REFERENCES applications (slug) ON DELETE CASCADE,
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    sid TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    scope TEXT NOT NULL,
    nonce TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    challenge TEXT NOT NULL,
    challenge_method TEXT NOT NULL,
    expires REAL NOT NULL,
    redeemed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE issued_tokens (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    family TEXT NOT NULL,
    slug TEXT NOT NULL REFERENCES applications (slug) ON DELETE CASCADE,
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    sid TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    amr TEXT NOT NULL,
    scope TEXT NOT NULL,
    nonce TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires REAL NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX families ON issued_tokens (family);
CREATE INDEX holders ON issued_tokens (user_pk, sid);
CREATE TABLE logout_notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL REFERENCES applications (slug) ON DELETE CASCADE,
    sub TEXT NOT NULL,
    sid TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
);
""",
)


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
    # SQLite folds only ASCII by itself.
    store.create_function("casefold", 1, lambda value: str(value).casefold(), deterministic=True)
    (version,) = store.execute("PRAGMA user_version").fetchone()
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        store.executescript(f"BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;")
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
