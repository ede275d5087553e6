"""The SQLite file that holds the stand-in's state."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from infrastructure.sandbox.authentik.permissions import SHIPPED

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

SCOPES = (
    ("openid", "OpenID 'openid'", "", "return {}"),
    (
        "email",
        "OpenID 'email'",
        "Email address",
        'return {\n    "email": request.user.email,\n    "email_verified": False\n}',
    ),
    (
        "profile",
        "OpenID 'profile'",
        "General Profile Information",
        'return {\n    "name": request.user.name,\n    "given_name": request.user.name,\n'
        '    "preferred_username": request.user.username,\n    "nickname": request.user.username,\n'
        '    "groups": [group.name for group in request.user.groups.all()],\n}',
    ),
    ("offline_access", "OpenID 'offline_access'", "Access to request new tokens without interaction", "return {}"),
)
AUTHORIZATION, LOGOUT = "authorization", "logout"


def redirect_entry(url: str, kind: str = AUTHORIZATION) -> dict[str, str]:
    """A redirect address that is compared exactly."""
    return {"matching_mode": "strict", "url": url, "redirect_uri_type": kind}


PROVIDERS_APART = """
CREATE TABLE scope_mappings (
    pk TEXT PRIMARY KEY,
    managed TEXT UNIQUE,
    name TEXT NOT NULL UNIQUE,
    scope_name TEXT NOT NULL,
    description TEXT NOT NULL,
    expression TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE providers (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL UNIQUE,
    client_secret TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    grant_types TEXT NOT NULL,
    property_mappings TEXT NOT NULL,
    fields TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE bound_applications (
    slug TEXT PRIMARY KEY,
    pk TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    provider INTEGER UNIQUE REFERENCES providers (pk) ON DELETE SET NULL,
    policy_engine_mode TEXT NOT NULL DEFAULT 'any',
    fields TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE bindings (
    pk TEXT PRIMARY KEY,
    target TEXT NOT NULL REFERENCES bound_applications (pk) ON DELETE CASCADE,
    group_pk TEXT REFERENCES groups (pk) ON DELETE CASCADE,
    user_pk INTEGER REFERENCES users (pk) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    negate INTEGER NOT NULL DEFAULT 0,
    enabled INTEGER NOT NULL DEFAULT 1,
    timeout INTEGER NOT NULL DEFAULT 30,
    failure_result INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE permissions (
    id INTEGER PRIMARY KEY,
    app_label TEXT NOT NULL,
    model TEXT NOT NULL,
    codename TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (app_label, codename)
);
CREATE TABLE roles (pk TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE) WITHOUT ROWID;
CREATE TABLE role_permissions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    role_pk TEXT NOT NULL REFERENCES roles (pk) ON DELETE CASCADE,
    permission INTEGER NOT NULL REFERENCES permissions (id),
    object_pk TEXT NOT NULL DEFAULT '',
    UNIQUE (role_pk, permission, object_pk)
);
CREATE TABLE user_roles (
    user_pk INTEGER NOT NULL REFERENCES users (pk) ON DELETE CASCADE,
    role_pk TEXT NOT NULL REFERENCES roles (pk) ON DELETE CASCADE,
    PRIMARY KEY (user_pk, role_pk)
) WITHOUT ROWID;
CREATE TABLE initial_permissions (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    role_pk TEXT NOT NULL REFERENCES roles (pk) ON DELETE CASCADE,
    permissions TEXT NOT NULL
);
"""


def _part_providers(store: sqlite3.Connection) -> None:
    """Gives each application a provider and a binding of their own, as the original has them; adds what is shipped."""
    for statement in PROVIDERS_APART.split(";\n"):
        store.execute(statement)
    store.executemany("INSERT INTO permissions (app_label, model, codename, name) VALUES (?, ?, ?, ?)", SHIPPED)
    for scope, title, description, expression in SCOPES:
        managed, name = f"goauthentik.io/providers/oauth2/scope-{scope}", f"authentik default OAuth Mapping: {title}"
        row = (str(uuid4()), managed, name, scope, description, expression)
        store.execute("INSERT INTO scope_mappings VALUES (?, ?, ?, ?, ?, ?)", row)
    for old in store.execute("SELECT * FROM applications").fetchall():
        add_application(store, "bound_applications", **{name: old[name] for name in old.keys()})  # noqa: SIM118 - a Row
    store.execute("DROP TABLE applications")
    store.execute("ALTER TABLE bound_applications RENAME TO applications")


def add_application(store: sqlite3.Connection, table: str = "applications", **given: Any) -> None:
    """Adds an application with a provider of its own, which grants every shipped scope, and its binding.

    Raises sqlite3.IntegrityError if the slug or the client id is taken.
    """
    uris = [redirect_entry(url) for url in json.loads(given["redirect_uris"])]
    uris += [redirect_entry(url, LOGOUT) for url in json.loads(given["post_logout_redirect_uris"])]
    scopes = [row[0] for row in store.execute("SELECT pk FROM scope_mappings WHERE managed IS NOT NULL")]
    fields = {"logout_uri": given["backchannel_logout_uri"] or "", "logout_method": "backchannel"}
    provider = store.execute(
        "INSERT INTO providers (name, client_id, client_secret, redirect_uris, grant_types, property_mappings, fields)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            f"Provider for {given['name']}",
            *(given["client_id"], given["client_secret"], json.dumps(uris), given["grant_types"]),
            *(json.dumps(scopes), json.dumps(fields)),
        ),
    ).lastrowid
    pk = str(uuid4())
    store.execute(
        f"INSERT INTO {table} (slug, pk, name, provider) VALUES (?, ?, ?, ?)",
        (given["slug"], pk, given["name"], provider),
    )
    if given["bound_group"] is not None:
        row = (str(uuid4()), pk, given["bound_group"])
        store.execute("INSERT INTO bindings (pk, target, group_pk, position) VALUES (?, ?, ?, 0)", row)


# Each runs once, in order, on a file of any age; `user_version` counts those that have run.
MIGRATIONS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
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
    _part_providers,
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
    # A table that is replaced must not take with it what refers to it; SQLite heeds this outside transactions only.
    store.execute("PRAGMA foreign_keys = OFF")
    store.executescript(SCHEMA)
    # SQLite folds only ASCII by itself.
    store.create_function("casefold", 1, lambda value: str(value).casefold(), deterministic=True)
    (version,) = store.execute("PRAGMA user_version").fetchone()
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        with transaction(store):
            if callable(migration):
                migration(store)
            else:
                for statement in migration.split(";\n"):
                    store.execute(statement)
            store.execute(f"PRAGMA user_version = {number}")
    store.execute("PRAGMA foreign_keys = ON")
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
