"""The SQLite file that holds the stand-in's state."""

from datetime import UTC, datetime

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    display_name TEXT NOT NULL,
    mail TEXT NOT NULL,
    given_name TEXT NOT NULL DEFAULT '',
    surname TEXT NOT NULL DEFAULT '',
    language TEXT NOT NULL DEFAULT '',
    enabled INTEGER NOT NULL DEFAULT 1,
    groups_synced REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS groups (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS memberships (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS groups_of ON memberships (user_id);
CREATE TABLE IF NOT EXISTS drives (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    alias TEXT NOT NULL,
    total INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL,
    modified TEXT NOT NULL,
    trashed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS grants (
    drive TEXT NOT NULL REFERENCES drives (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    holder TEXT NOT NULL,
    role TEXT NOT NULL,
    expires TEXT,
    created TEXT NOT NULL,
    PRIMARY KEY (drive, kind, holder)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS granted ON grants (kind, holder);
"""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
