"""Users and groups as the API shows them. Roles are always empty: the stand-in has none."""

import json
import sqlite3
from typing import Any, ClassVar

from infrastructure.sandbox.authentik.directory import Directory

AVATAR = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"


class Records:
    """Rows of the store turned into JSON objects."""

    # A superuser group makes superusers of its members, and of the members of the groups below it.
    SUPERUSERS: ClassVar[str] = (
        "WITH RECURSIVE above (pk) AS (SELECT pk FROM groups WHERE is_superuser UNION"
        " SELECT group_pk FROM group_parents JOIN above ON parent_pk = above.pk)"
        " SELECT user_pk FROM memberships JOIN above ON group_pk = above.pk"
    )

    def __init__(self, store: sqlite3.Connection, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def user(self, row: sqlite3.Row, *, include_groups: bool = True) -> dict[str, object]:
        """A whole user; without `include_groups` the member `groups_obj` is null."""
        groups = self._all(
            "SELECT groups.* FROM groups JOIN memberships ON group_pk = pk WHERE user_pk = ? ORDER BY name", row["pk"]
        )
        found = self._store.execute(f"SELECT ? IN ({self.SUPERUSERS})", (row["pk"],)).fetchone()
        return {
            **self._person(row),
            "date_joined": _utc(row["date_joined"]),
            "is_superuser": bool(found[0]),
            "groups": [group["pk"] for group in groups],
            "groups_obj": [_group(group) for group in groups] if include_groups else None,
            "roles": [],
            "roles_obj": [],
            "avatar": AVATAR,
            "path": row["path"],
            "type": row["type"],
            "uuid": row["uuid"],
            "password_change_date": _utc(row["password_change_date"]),
            "last_updated": _utc(row["last_updated"]),
        }

    def group(self, row: sqlite3.Row, *, include_users: bool = True) -> dict[str, object]:
        """A whole group; without `include_users` the member `users_obj` is null and costs nothing."""
        pk = row["pk"]
        members = self._all("SELECT user_pk FROM memberships WHERE group_pk = ? ORDER BY user_pk", pk)
        people = (
            self._all("SELECT users.* FROM users JOIN memberships ON user_pk = pk WHERE group_pk = ? ORDER BY pk", pk)
            if include_users
            else []
        )
        parents = self._all("SELECT groups.* FROM groups JOIN group_parents ON parent_pk = pk WHERE group_pk = ?", pk)
        children = self._all("SELECT groups.* FROM groups JOIN group_parents ON group_pk = pk WHERE parent_pk = ?", pk)
        return {
            **_group(row),
            "parents": [parent["pk"] for parent in parents],
            "parents_obj": [_related(parent) for parent in parents],
            "users": [member["user_pk"] for member in members],
            "users_obj": [self._person(person) for person in people] if include_users else None,
            "roles": [],
            "roles_obj": [],
            "inherited_roles_obj": [],
            "children": [child["pk"] for child in children],
            "children_obj": [_related(child) for child in children],
        }

    def _person(self, row: sqlite3.Row) -> dict[str, object]:
        return {
            "pk": row["pk"],
            "username": row["username"],
            "name": row["name"],
            "is_active": bool(row["is_active"]),
            "last_login": _utc(row["last_login"]) if row["last_login"] else None,
            "email": row["email"],
            "attributes": json.loads(row["attributes"]),
            "uid": self._directory.subject(row),
        }

    def _all(self, statement: str, value: object) -> list[Any]:
        return self._store.execute(statement, (value,)).fetchall()


def _group(row: sqlite3.Row) -> dict[str, object]:
    return {
        "pk": row["pk"],
        "num_pk": row["num_pk"],
        "name": row["name"],
        "is_superuser": bool(row["is_superuser"]),
        "attributes": json.loads(row["attributes"]),
    }


def _related(row: sqlite3.Row) -> dict[str, object]:
    shown = _group(row)
    del shown["num_pk"]
    return {**shown, "group_uuid": row["pk"]}


def _utc(stored: str) -> str:
    # Files of the first version of the stand-in hold the offset in digits.
    return stored.replace("+00:00", "Z")
