"""The seed file, and its transfer into the store.

Every application, group and user of the file enters the store once, at the first start that finds it there.
What happens to it afterwards (a new password, another group, its removal) outlasts every further start.
What a fresh install has by itself (`install`) enters the same way.
`publicUrl` and `apiToken` are settings, not records: they are taken from the file at every start.
"""

import sqlite3
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from infrastructure.sandbox.authentik.applications import Applications, NewApplication
from infrastructure.sandbox.authentik.directory import Directory
from infrastructure.sandbox.authentik.install import install
from infrastructure.sandbox.authentik.store import transaction
from infrastructure.sandbox.kit import Wire


class SeedApplication(Wire):
    """`bound_group` names the only group that is admitted. None admits everybody, and has to be said."""

    slug: str = Field(pattern=r"^[-a-zA-Z0-9_]+$")
    name: str = Field(min_length=1)
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=16)
    redirect_uris: tuple[str, ...]
    bound_group: str | None
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = Field(default=None, pattern=r"^https?://")


class SeedUser(Wire):
    """`uid`, the subject of the user's tokens, is derived unless given: whoever writes the seed may need to know it."""

    username: str = Field(min_length=1)
    name: str
    email: str
    groups: tuple[str, ...] = ()
    uid: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    password: SecretStr = Field(min_length=8)
    app_password: SecretStr = Field(min_length=16)


class Seed(Wire):
    """The whole file. Groups are listed before use, so that a misspelt one is an error, not a group."""

    api_token: SecretStr = Field(min_length=16)
    public_url: str = Field(pattern=r"^https?://")
    applications: tuple[SeedApplication, ...]
    groups: tuple[str, ...] = ()
    users: tuple[SeedUser, ...] = ()

    @field_validator("public_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _groups_are_listed(self) -> Self:
        used = {application.bound_group for application in self.applications} - {None}
        used |= {group for user in self.users for group in user.groups}
        unknown = sorted(str(group) for group in used - set(self.groups))
        if unknown:
            raise ValueError(f"groups that are used but not listed: {', '.join(unknown)}")
        return self


def load_seed(path: Path) -> Seed:
    """Reads the file; exits with one line per problem, none of which repeats a value."""
    try:
        return Seed.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SystemExit(f"seed file {path}: {error.strerror}") from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()]
        raise SystemExit("\n".join(f"seed file {path}: {line}" for line in lines)) from None


class Seeding:
    """Carries a seed into the store, each record once."""

    def __init__(self, store: sqlite3.Connection, directory: Directory, applications: Applications) -> None:
        self._store = store
        self._directory = directory
        self._applications = applications

    def apply(self, seed: Seed) -> None:
        """In one transaction, so that `kill -9` leaves all of it or nothing."""
        with transaction(self._store):
            if self._first_time("install", "defaults"):
                install(self._store, self._directory)
            for group in seed.groups:
                if self._first_time("group", group) and self._directory.group_named(group) is None:
                    self._directory.add_group(group)
            for user in seed.users:
                if self._first_time("user", user.username) and self._directory.user_named(user.username) is None:
                    self._add_user(user)
            for application in seed.applications:
                if self._first_time("application", application.slug):
                    self._add_application(application)

    def _first_time(self, kind: str, name: str) -> bool:
        done = self._store.execute("INSERT OR IGNORE INTO seeded (kind, name) VALUES (?, ?)", (kind, name))
        return done.rowcount == 1

    def _add_user(self, seed: SeedUser) -> None:
        user = self._directory.add_user(seed.username, seed.name, seed.email, uid=seed.uid)
        self._directory.set_password(user, seed.password.get_secret_value())
        self._directory.add_app_password(user, seed.app_password.get_secret_value())
        for name in seed.groups:
            group = self._directory.group_named(name)
            # A listed group can be missing only because somebody removed it later, and that stands.
            if group is not None:
                self._directory.add_membership(user, group)

    def _add_application(self, seed: SeedApplication) -> None:
        bound = None
        if seed.bound_group is not None:
            bound = self._directory.group_named(seed.bound_group)
            if bound is None:
                raise SystemExit(f"application {seed.slug}: its group {seed.bound_group} no longer exists")
        self._applications.add(
            NewApplication(
                slug=seed.slug,
                name=seed.name,
                client_id=seed.client_id,
                client_secret=seed.client_secret.get_secret_value(),
                redirect_uris=seed.redirect_uris,
                bound_group=bound,
                post_logout_redirect_uris=seed.post_logout_redirect_uris,
                backchannel_logout_uri=seed.backchannel_logout_uri,
            )
        )
