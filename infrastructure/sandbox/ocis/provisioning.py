"""Users that their first sign-in creates, and what later ones bring up to date."""

import sqlite3
import time
from typing import Any

from infrastructure.sandbox.kit import transaction
from infrastructure.sandbox.ocis.audit import Audit
from infrastructure.sandbox.ocis.directory import Directory
from infrastructure.sandbox.ocis.gate import Refused
from infrastructure.sandbox.ocis.seed import Seed
from infrastructure.sandbox.ocis.spaces import Spaces

GROUPS_EVERY_SECONDS = 300


class Provisioning:
    """From claims to a user: `preferred_username` is the name, `email` and `name` follow it."""

    def __init__(self, directory: Directory, spaces: Spaces, audit: Audit, seed: Seed) -> None:
        self._directory = directory
        self._spaces = spaces
        self._audit = audit
        self._seed = seed

    def user(self, claims: dict[str, Any]) -> sqlite3.Row:
        """Raises Refused: 500 for a missing claim, 401 for a user that is unknown or disabled."""
        name = self._claim(claims, "preferred_username")
        with transaction(self._directory.store):
            row = self._directory.user(name)
            if row is None:
                row = self._newcomer(name, claims)
            elif row["enabled"]:
                self._follow(row, claims)
            if row["enabled"]:
                self._sync_groups(row, claims)
                self._spaces.ensure_personal(row)
        if not row["enabled"]:
            raise Refused(401, "unauthenticated", "the user is disabled")
        current = self._directory.user(row["id"])
        assert current is not None, "seen in the transaction"
        return current

    def _newcomer(self, name: str, claims: dict[str, Any]) -> sqlite3.Row:
        if not self._seed.autoprovision:
            raise Refused(401, "unauthenticated", "the user is unknown")
        row = self._directory.add_user(name, self._claim(claims, "name"), self._claim(claims, "email"))
        self._audit.record("user_created", f"user '{row['id']}' was created", UserID=row["id"])
        return row

    def _follow(self, row: sqlite3.Row, claims: dict[str, Any]) -> None:
        """The display name and the address; nothing else of a known user changes by signing in."""
        for claim, column in (("name", "display_name"), ("email", "mail")):
            value = claims.get(claim)
            if isinstance(value, str) and value and value != row[column]:
                self._directory.change_user(row["id"], {column: value})

    def _sync_groups(self, row: sqlite3.Row, claims: dict[str, Any]) -> None:
        named = claims.get(self._seed.groups_claim) if self._seed.groups_claim else None
        if not isinstance(named, list) or time.time() - row["groups_synced"] < GROUPS_EVERY_SECONDS:
            return
        wanted = {str(name) for name in named}
        for group in self._directory.groups_of(row["id"]):
            if group["display_name"] not in wanted:
                self._directory.leave(group["id"], row["id"])
        for name in sorted(wanted):
            group = self._directory.group(name) or self._directory.add_group(name)
            self._directory.join(group["id"], row["id"])
        self._directory.change_user(row["id"], {"groups_synced": time.time()})

    def _claim(self, claims: dict[str, Any], name: str) -> str:
        value = claims.get(name)
        if not isinstance(value, str) or not value:
            raise Refused(500, "generalException", f"the claim {name} is missing")
        return value
