"""Applications, each with the OAuth2 provider that belongs to it alone, as those who give out tokens see them."""

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.sandbox.authentik.store import LOGOUT, add_application

GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials", "password")
JOINED = (
    "SELECT applications.slug, applications.pk, applications.name, policy_engine_mode, providers.client_id,"
    " client_secret, redirect_uris, grant_types, property_mappings, providers.fields AS provider_fields"
    " FROM applications JOIN providers ON providers.pk = applications.provider"
)


@dataclass(frozen=True, slots=True)
class NewApplication:
    """What a seed says of one. `bound_group` is the UUID of the only group admitted; None admits everybody."""

    slug: str
    name: str
    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...] = GRANT_TYPES
    bound_group: str | None = None
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """One application. `pk` is what bindings aim at, `engine_mode` says whether `any` or `all` of them must hold.

    `backchannel_logout_uri` is told when a session ends (OpenID Connect Back-Channel Logout 1.0).

    A grant type that is not listed in `grant_types` is refused with `invalid_grant`; a scope that is not in `scopes` is
    dropped. A `public` client has no secret that anybody asks for (RFC 6749 section 2.1).
    """

    slug: str
    pk: str
    name: str
    engine_mode: str
    client_id: str
    client_secret: str
    entries: tuple[Mapping[str, str], ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    backchannel_logout_uri: str | None
    public: bool

    def redirects_to(self, address: str) -> bool:
        """True for a redirect address of a sign-in: equal, or matched whole by a regular expression."""
        return self._lists(address, logout=False)

    @property
    def has_returns(self) -> bool:
        """True if any address to go to after a sign-out is registered."""
        return any(entry["redirect_uri_type"] == LOGOUT for entry in self.entries)

    def returns_to(self, address: str) -> bool:
        """True for an address to go to after a sign-out."""
        return self._lists(address, logout=True)

    def _lists(self, address: str, *, logout: bool) -> bool:
        entries = (entry for entry in self.entries if (entry["redirect_uri_type"] == LOGOUT) is logout)
        return any(
            re.fullmatch(entry["url"], address) is not None
            if entry["matching_mode"] == "regex"
            else entry["url"] == address
            for entry in entries
        )


class Applications:
    """The applications of one instance that have a provider, found by slug or by client id, both unique."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def add(self, new: NewApplication) -> None:
        """Raises sqlite3.IntegrityError if the slug or the client id is taken."""
        add_application(
            self._store,
            slug=new.slug,
            name=new.name,
            client_id=new.client_id,
            client_secret=new.client_secret,
            redirect_uris=json.dumps(new.redirect_uris),
            grant_types=json.dumps(new.grant_types),
            bound_group=new.bound_group,
            post_logout_redirect_uris=json.dumps(new.post_logout_redirect_uris),
            backchannel_logout_uri=new.backchannel_logout_uri,
        )

    def with_slug(self, slug: str) -> Application | None:
        row = self._store.execute(f"{JOINED} WHERE applications.slug = ?", (slug,)).fetchone()
        return self._application(row) if row else None

    def with_client_id(self, client_id: str) -> Application | None:
        row = self._store.execute(f"{JOINED} WHERE client_id = ?", (client_id,)).fetchone()
        return self._application(row) if row else None

    def admits(self, application: Application, user_pk: int) -> bool:
        """What the bindings say of a user; an application without any admits everybody."""
        said = [
            bool(row["member"]) is not bool(row["negate"])
            for row in self._store.execute(
                "SELECT negate, user_pk IS ?1 OR EXISTS (SELECT 1 FROM memberships WHERE memberships.user_pk = ?1"
                " AND memberships.group_pk = bindings.group_pk) AS member FROM bindings WHERE target = ?2 AND enabled",
                (user_pk, application.pk),
            )
        ]
        return not said or (all(said) if application.engine_mode == "all" else any(said))

    def _application(self, row: sqlite3.Row) -> Application:
        fields: dict[str, Any] = json.loads(row["provider_fields"])
        backchannel = fields.get("logout_uri") if fields.get("logout_method", "backchannel") == "backchannel" else None
        scopes = self._store.execute(
            "SELECT scope_name FROM scope_mappings JOIN json_each(?) ON json_each.value = pk",
            (row["property_mappings"],),
        )
        return Application(
            slug=row["slug"],
            pk=row["pk"],
            name=row["name"],
            engine_mode=row["policy_engine_mode"],
            client_id=row["client_id"],
            client_secret=row["client_secret"],
            entries=tuple(json.loads(row["redirect_uris"])),
            grant_types=tuple(json.loads(row["grant_types"])),
            scopes=tuple(scope["scope_name"] for scope in scopes),
            backchannel_logout_uri=backchannel or None,
            public=fields.get("client_type") == "public",
        )
