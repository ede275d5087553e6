"""Who may do what in MongoDB, as data; the local runner and the bootstrap job apply it.

A service's user is defined in that service's own database and can open no other. The audit service's user can
add log entries and read them, but neither change nor remove one: the log is append-only in the database.
Only the archiver, which has moved an entry to cold storage, may remove it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

READ = ("find", "createIndex", "listIndexes")
APPEND = ("find", "insert", "createIndex", "listIndexes")
WRITE = (*APPEND, "update", "remove", "createCollection", "dropIndex", "collMod", "changeStream")

_USER_EXISTS = 51003  # the server's error codes
_ROLE_EXISTS = 51002


@dataclass(frozen=True)
class Role:
    """A role of one database. `collections` maps a name to the actions allowed on it, and on nothing else."""

    name: str
    database: str
    collections: Mapping[str, Sequence[str]]
    inherits: Sequence[str] = ()

    def command(self, verb: str) -> dict[str, Any]:
        """`createRole` or `updateRole`."""
        privileges: list[dict[str, Any]] = [
            {"resource": {"db": self.database, "collection": collection}, "actions": list(actions)}
            for collection, actions in self.collections.items()
        ]
        privileges.append({"resource": {"db": self.database, "collection": ""}, "actions": ["listCollections"]})
        return {verb: self.name, "privileges": privileges, "roles": list(self.inherits)}


@dataclass(frozen=True)
class User:
    """A user, defined in the database that it works in, with roles of that database."""

    name: str
    database: str
    roles: Sequence[str] = ("readWrite",)


_AUDIT_LOG = ("entries", "checkpoints")
_AUDIT_WORK = (
    *("heads", "person_keys", "sources", "tenants", "erasures", "erased_addresses", "tree_tiles"),
    *("ingested", "ingest_sources", "checkpoint_places", "verifications"),
)
# The collections of shared/: outbox.py, inbox.py, leases.py and idempotency.py.
_SHARED = ("outbox", "counters", "inbox", "consumer_failures", "leases", "idempotency")

ROLES: tuple[Role, ...] = (
    Role(
        "audit_append",
        "audit",
        dict.fromkeys(_AUDIT_LOG, APPEND) | {"archives": READ} | dict.fromkeys((*_AUDIT_WORK, *_SHARED), WRITE),
    ),
    Role(
        "audit_archive",
        "audit",
        {"entries": (*APPEND, "remove"), "archives": WRITE, "archive_state": WRITE},
        inherits=("audit_append",),
    ),
)

USERS: tuple[User, ...] = (
    User("tenant", "tenant"),
    User("partner", "partner"),
    User("billing", "billing"),
    User("flags", "flags"),
    User("health", "health"),
    User("audit", "audit", roles=("audit_append",)),
    User("audit_archiver", "audit", roles=("audit_archive",)),
)


def apply(root: "MongoClient[dict[str, Any]]", passwords: Mapping[str, str]) -> None:
    """Makes roles and users be as the tables above say; safe to repeat. `passwords` is by user name.

    Needs a client of a user who may administer users. Raises the driver's errors.
    """
    for role in ROLES:
        database = root[role.database]
        _create_or_update(database, role.command("createRole"), role.command("updateRole"), _ROLE_EXISTS)
    for user in USERS:
        body = {"pwd": passwords[user.name], "roles": list(user.roles)}
        database = root[user.database]
        _create_or_update(database, {"createUser": user.name} | body, {"updateUser": user.name} | body, _USER_EXISTS)


def _create_or_update(database: Any, create: dict[str, Any], update: dict[str, Any], exists: int) -> None:
    try:
        database.command(create)
    except OperationFailure as refused:
        if refused.code != exists:
            raise
        database.command(update)
