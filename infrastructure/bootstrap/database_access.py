"""Who may do what in MongoDB, as data; the local runner and the bootstrap job apply it.

A service's user is defined in that service's own database and can open no other. The audit service's user can
add log entries and read them, but neither change nor remove one: the log is append-only in the database.
Only the archiver, which has moved an entry to cold storage, may remove it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from infrastructure.bootstrap.reports import Outcome, Report

READ = ("find", "createIndex", "listIndexes")
APPEND = ("find", "insert", "createIndex", "listIndexes")
WRITE = (*APPEND, "update", "remove", "createCollection", "dropIndex", "collMod", "changeStream")

_AUTHENTICATION_FAILED = 18  # the server's error code
_ANSWER_MS = 5_000


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
    """Makes roles and users be as the tables above say; safe to repeat. See `settle`."""
    for _ in settle(root, passwords):
        continue


def settle(root: "MongoClient[dict[str, Any]]", passwords: Mapping[str, str]) -> Iterator[Report]:
    """Makes each role, then each user whose password is given, be as the tables above say, and reports it.

    `passwords` is by user name; whoever is not in it is left alone. Needs a client of a user who may administer users.
    What is as it must be is not written, since a write would end the cached rights of all connections.
    Raises the driver's errors.
    """
    for role in ROLES:
        yield Report(f"role {role.database}.{role.name}", _settle_role(root[role.database], role))
    for user in USERS:
        if user.name in passwords:
            yield Report(f"user {user.database}.{user.name}", _settle_user(root, user, passwords[user.name]))


def _settle_role(database: "Database[dict[str, Any]]", role: Role) -> Outcome:
    found = database.command("rolesInfo", role.name, showPrivileges=True)["roles"]
    if not found:
        database.command(role.command("createRole"))
        return Outcome.MADE
    wanted = role.command("updateRole")
    inherited = {(each["role"], each["db"]) for each in found[0]["roles"]}
    if _granted(found[0]["privileges"]) == _granted(wanted["privileges"]) and inherited == {
        (name, role.database) for name in role.inherits
    }:
        return Outcome.OK
    database.command(wanted)
    return Outcome.MENDED


def _granted(privileges: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Actions by resource; the order in which they are listed means nothing."""
    granted: dict[str, set[str]] = {}
    for privilege in privileges:
        granted.setdefault(repr(sorted(privilege["resource"].items())), set()).update(privilege["actions"])
    return granted


def _settle_user(root: "MongoClient[dict[str, Any]]", user: User, password: str) -> Outcome:
    database = root[user.database]
    found = database.command("usersInfo", user.name)["users"]
    body = {"pwd": password, "roles": list(user.roles)}
    if not found:
        database.command({"createUser": user.name} | body)
        return Outcome.MADE
    roles = {(each["role"], each["db"]) for each in found[0]["roles"]}
    if roles == {(name, user.database) for name in user.roles} and _opens(root, user, password):
        return Outcome.OK
    database.command({"updateUser": user.name} | body)
    return Outcome.MENDED


def _opens(root: "MongoClient[dict[str, Any]]", user: User, password: str) -> bool:
    """True when the user comes in with this password: the server keeps only what a password can be tried against."""
    address = root.address
    assert address is not None
    options: dict[str, Any] = dict.fromkeys(("serverSelectionTimeoutMS", "socketTimeoutMS"), _ANSWER_MS)
    options |= {"username": user.name, "password": password, "authSource": user.database}
    with MongoClient[dict[str, Any]](*address, directConnection=True, **options) as own:
        try:
            own.admin.command("ping")
        except OperationFailure as refused:
            if refused.code != _AUTHENTICATION_FAILED:
                raise
            return False
    return True
