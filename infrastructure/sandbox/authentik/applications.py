"""Applications, each with the OAuth2 provider that belongs to it alone."""

import json
import sqlite3
from dataclasses import dataclass

GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials", "password")


@dataclass(frozen=True, slots=True)
class Application:
    """One application. `bound_group` is the UUID of the only group admitted; None admits everybody.

    Redirect addresses are compared exactly. `backchannel_logout_uri` is told when a session ends (OpenID Connect
    Back-Channel Logout 1.0).

    A grant type that is not listed in `grant_types` is refused with `invalid_grant`.
    """

    slug: str
    name: str
    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...] = GRANT_TYPES
    bound_group: str | None = None
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None


class Applications:
    """The applications of one instance, found by slug or by client id, both unique."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def add(self, application: Application) -> None:
        """Raises sqlite3.IntegrityError if the slug or the client id is taken."""
        self._store.execute(
            "INSERT INTO applications"
            " (slug, name, client_id, client_secret, redirect_uris, grant_types, bound_group,"
            " post_logout_redirect_uris, backchannel_logout_uri) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                application.slug,
                application.name,
                application.client_id,
                application.client_secret,
                json.dumps(application.redirect_uris),
                json.dumps(application.grant_types),
                application.bound_group,
                json.dumps(application.post_logout_redirect_uris),
                application.backchannel_logout_uri,
            ),
        )

    def with_slug(self, slug: str) -> Application | None:
        row = self._store.execute("SELECT * FROM applications WHERE slug = ?", (slug,)).fetchone()
        return _application(row) if row else None

    def with_client_id(self, client_id: str) -> Application | None:
        row = self._store.execute("SELECT * FROM applications WHERE client_id = ?", (client_id,)).fetchone()
        return _application(row) if row else None


def _application(row: sqlite3.Row) -> Application:
    return Application(
        slug=row["slug"],
        name=row["name"],
        client_id=row["client_id"],
        client_secret=row["client_secret"],
        redirect_uris=tuple(json.loads(row["redirect_uris"])),
        grant_types=tuple(json.loads(row["grant_types"])),
        bound_group=row["bound_group"],
        post_logout_redirect_uris=tuple(json.loads(row["post_logout_redirect_uris"])),
        backchannel_logout_uri=row["backchannel_logout_uri"],
    )
